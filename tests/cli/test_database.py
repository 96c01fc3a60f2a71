"""`flask convex migrate` and `data`."""

from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP, Document, Schema
from tests.cli.conftest import Convex
from tests.versions import create_with, thing


class OldLamp(Document, table="lamps"):
    name: str
    seen: None = None
    tags: list[str]
    price: int = 3


def older_app(folder: Path) -> Flask:
    """Return the shop with the schema in which lamps had a price."""
    app = Flask("shop", instance_path=str(folder))
    ConvexHTTP(app, schema=Schema(OldLamp))
    return app


def test_migrate_prints_the_database_and_each_step(unmigrated: Convex, tmp_path: Path) -> None:
    """The first migration names the database and each step; the second finds that it matches the schema."""
    first = unmigrated("migrate")
    assert first.status == 0
    assert str(tmp_path / "convex.db") in first.out
    assert "create table lamps (name, seen, tags)" in first.out
    second = unmigrated("migrate")
    assert second.status == 0
    assert "The database matches the schema." in second.out


def test_built_in_tables_are_one_line(unmigrated: Convex) -> None:
    """The first migration prints one line for all built-in tables, and each of their steps with --verbose."""
    short, long = (unmigrated("migrate", "--dry-run", *options).out for options in ([], ["--verbose"]))
    assert short.count("built-in tables") == 1
    assert "_webhooks" not in short
    assert len(short.splitlines()) < 10
    assert "create table _webhooks (" in long
    assert "built-in tables" not in long
    assert short.splitlines()[-1] == long.splitlines()[-1]


def test_a_dry_run_changes_nothing(unmigrated: Convex) -> None:
    """A dry run prints the steps that the migration then applies, and changes nothing."""
    planned = unmigrated("migrate", "--dry-run", "--json").json
    assert planned["dry_run"] is True
    assert planned["steps"]
    assert unmigrated("data").status == 1
    applied = unmigrated("migrate", "--json").json
    assert applied["steps"] == planned["steps"]
    assert unmigrated("migrate", "--json").json["steps"] == []


def test_a_destructive_step_is_refused_until_it_is_allowed(unmigrated: Convex, tmp_path: Path) -> None:
    """A step that drops a column with data needs --allow-destructive."""
    older = older_app(tmp_path)
    assert older.test_cli_runner().invoke(args=["convex", "migrate"]).exit_code == 0
    older.extensions["convex_http"].close()
    refused = unmigrated("migrate")
    assert refused.status == 1
    assert refused.err.startswith("Error: ")
    assert "lamps.price" in refused.err
    allowed = unmigrated("migrate", "--allow-destructive", "--json")
    assert allowed.status == 0
    assert {"step": "drop column lamps.price and what it holds", "destructive": True} in allowed.json["steps"]


def test_an_impossible_path_is_an_error_in_one_line(tmp_path: Path) -> None:
    """A path that cannot be created is an error in one line, without a traceback."""
    (tmp_path / "file").write_text("")
    app = Flask("shop", instance_path=str(tmp_path / "file"))
    ConvexHTTP(app)
    result = app.test_cli_runner().invoke(args=["convex", "migrate"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "convex.db cannot be created" in result.stderr


def test_tables_are_listed_with_their_rows(convex: Convex) -> None:
    """Without a table, `data` lists all tables with their row counts and marks system tables."""
    convex("run", "shop:add", '{"name": "Anna"}')
    listed = convex("data", "--json").json
    assert listed[0] == {"table": "lamps", "rows": 1, "system": False}
    assert {"table": "_storage", "rows": 0, "system": True} in listed
    assert convex("data").out.splitlines()[1].split() == ["lamps", "1"]


def test_rows_come_in_order_up_to_the_limit(convex: Convex) -> None:
    """--order and --limit select the rows; the newest come first by default."""
    for name in ("one", "two", "three"):
        convex("run", "shop:add", f'{{"name": "{name}"}}')
    assert [row["name"] for row in convex("data", "lamps", "--json").json] == ["three", "two", "one"]
    assert [row["name"] for row in convex("data", "lamps", "--order", "asc", "--limit", "2", "--json").json] == [
        "one",
        "two",
    ]
    headings, *rows = convex("data", "lamps").out.splitlines()
    assert headings.split() == ["_id", "_creation_time", "name", "seen", "tags"]
    assert len(rows) == 3


@pytest.mark.parametrize("text", ["\x1b[31mred", "two\nlines", "\x9b31m", "\u202eright to left", "\x7f"])
def test_data_cannot_command_the_terminal(convex: Convex, text: str) -> None:
    """Control characters in a row are printed escaped, on one line."""
    assert convex("run", "shop:add", "-", stdin='{"name": ' + ascii_json(text) + "}").status == 0
    shown = convex("data", "lamps").out
    assert len(shown.splitlines()) == 2
    assert text not in shown
    assert convex("data", "lamps", "--json").json[0]["name"] == text


def ascii_json(text: str) -> str:
    """Return a text as ASCII JSON."""
    return '"' + "".join(f"\\u{ord(character):04x}" for character in text) + '"'


def test_secrets_are_not_printed(convex: Convex) -> None:
    """Hashes of keys and values of settings are neither printed nor in JSON."""
    convex("keys", "create", "--name", "ci")
    assert "hash" not in convex("data", "api_keys", "--json").json[0]
    assert "hash" not in convex("data", "api_keys").out
    settings = convex("data", "_settings", "--json").json
    assert {row["key"] for row in settings} >= {"secret"}
    assert all("value" not in row for row in settings)
    assert "value" not in convex("data", "_settings").out


def test_an_unknown_table_names_the_others(convex: Convex) -> None:
    """An unknown table is an error that lists the tables."""
    refused = convex("data", "lamp")
    assert refused.status == 1
    assert "'lamp'" in refused.err
    assert "lamps" in refused.err


@pytest.mark.parametrize("options", [["--limit", "0"], ["--limit", "many"], ["--order", "up"]])
def test_wrong_options_of_data_are_wrong_usage(convex: Convex, options: list[str]) -> None:
    """An impossible limit or order is wrong usage."""
    assert convex("data", "lamps", *options).status == 2


def test_rows_without_a_class_are_named(convex: Convex, tmp_path: Path) -> None:
    """`migrate`, `data` and `check` name a table with rows that no class describes, and hint at `renamed_from`."""
    users = thing(table="users", name=str)
    [ada] = create_with(tmp_path, users, users(name="Ada"))
    hint = f"No class describes the table users, which has 1 row, such as {ada}."
    assert f"Note: {hint}" in convex("migrate", "--dry-run").out
    assert f"Note: {hint}" in convex("migrate").out
    assert convex("migrate", "--json").json["undescribed"] == [{"table": "users", "rows": 1}]
    assert ["users", "1", "no", "class", "describes", "it"] in [
        line.split() for line in convex("data").out.splitlines()
    ]
    assert {"table": "users", "rows": 1, "system": False, "described": False} in convex("data", "--json").json
    for command in (["data", "users"], ["check"]):
        refused = convex(*command)
        assert refused.status == 1
        assert hint in refused.out + refused.err
        assert 'renamed_from="users"' in refused.out + refused.err


def test_a_forgotten_rename_is_noted_once(unmigrated: Convex, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The command prints its note on rows without a class, and logs none; `ConvexHTTP.migrate` logs one."""
    users = thing(table="users", name=str)
    create_with(tmp_path, users, users(name="Ada"))
    assert unmigrated("migrate").out.count("No class describes the table users") == 1
    assert "No class describes" not in caplog.text
    app = Flask("shop", instance_path=str(tmp_path))
    convex = ConvexHTTP(app, schema=Schema(OldLamp, thing(table="others", text=str)))
    with app.app_context():
        convex.migrate()
        convex.backend.close()
    assert caplog.text.count("No class describes the table users") == 1
