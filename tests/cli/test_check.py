"""`flask convex check`: what is sound passes, and each kind of damage is told where it is."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import flask_convex_http.operations.check
from flask_convex_http.sqlite.connections import sqlite3
from tests.cli.conftest import Convex, Outcome
from tests.databases import rows

NOT_THERE = "lamps_" + "0" * 32
DAY = 86_400


def add(convex: Convex, name: str = "Anna", **fields: Any) -> str:
    """Store a lamp."""
    return str(convex("run", "shop:add", json.dumps({"name": name, **fields})).json)


def store(convex: Convex, text: str = "hello") -> str:
    """Store a file."""
    return str(convex("run", "shop:store", json.dumps({"text": text})).json)


def in_store(folder: Path, sql: str, *values: Any) -> list[Any]:
    """What another program sees in the store of files, or does to it."""
    with closing(sqlite3.connect(folder / "convex-files.db", isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()


def problems(convex: Convex, *options: str) -> list[str]:
    """What the check finds wrong, for programs; people are told the same."""
    found = convex("check", *options, "--json")
    told: list[str] = found.json["problems"]
    assert found.status == (1 if told else 0)
    shown = convex("check", *options)
    assert shown.status == found.status
    assert [line for line in shown.out.splitlines() if line.startswith("Problem: ")] == [f"Problem: {t}." for t in told]
    return told


def notes(convex: Convex) -> list[str]:
    """What the check remarks on; it finds nothing wrong."""
    found = convex("check", "--json")
    assert (found.status, found.json["problems"]) == (0, [])
    told: list[str] = found.json["notes"]
    return told


@contextmanager
def without_index(folder: Path, name: str) -> Iterator[None]:
    """SQLite does not know of an index for a while, so that it misses what is written."""
    with closing(sqlite3.connect(folder / "convex.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (entry,) = connection.execute("SELECT * FROM sqlite_master WHERE name = ?", (name,)).fetchall()
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
        rows(folder, "CREATE TABLE other (a)")  # the schema has changed, so everybody reads it again
        yield
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
        rows(folder, "DROP TABLE other")


# --- what is sound ---------------------------------------------------------------------------------------------------


def test_what_is_sound_has_no_problems(convex: Convex, tmp_path: Path) -> None:
    """With documents and files the check counts what it looked at and ends well."""
    add(convex)
    store(convex)
    assert problems(convex, "--files") == []
    assert convex("check", "--json").json == {"problems": [], "notes": [], "rows": 4, "files": 1}
    shown = convex("check")
    assert shown.out == "4 rows and 1 file looked at: no problems.\n"
    assert shown.err == ""


def test_a_check_makes_nothing(unmigrated: Convex, tmp_path: Path) -> None:
    """Without a database the message says what to run; without a store of files that is fine; neither is made."""
    refused = unmigrated("check", "--json")
    assert (refused.status, refused.out) == (1, "")
    assert "flask convex migrate" in refused.err
    assert os.listdir(tmp_path) == []
    unmigrated("migrate")
    assert notes(unmigrated) == []
    assert not (tmp_path / "convex-files.db").exists()


def test_a_check_waits_for_nobody(convex: Convex, tmp_path: Path) -> None:
    """While somebody holds the write lock the check answers what was committed."""
    with closing(sqlite3.connect(tmp_path / "convex.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM _settings")
        started = time.monotonic()
        assert problems(convex) == []
        assert time.monotonic() - started < 5


# --- the database ----------------------------------------------------------------------------------------------------


def test_a_row_that_an_index_misses_is_found(convex: Convex, tmp_path: Path) -> None:
    """The line names the index, and what it says to do helps."""
    with without_index(tmp_path, "lamps.by_name"):
        add(convex)
    found = problems(convex)
    assert any("missing from index lamps.by_name" in problem for problem in found)
    assert all("REINDEX" in problem for problem in found)
    rows(tmp_path, "REINDEX")
    assert problems(convex) == []


def test_two_rows_with_one_unique_value_are_found(convex: Convex, tmp_path: Path) -> None:
    """A unique index that lost its hold on a row does not hide the row's twin."""
    with without_index(tmp_path, "_settings.by_key"):
        rows(
            tmp_path,
            "INSERT INTO _settings (_id, _creation_time, key, value) "
            "SELECT '_settings_' || printf('%032d', 1), 1.0, key, value FROM _settings WHERE key = 'secret'",
        )
    assert any("index _settings.by_key" in problem for problem in problems(convex))


def test_a_broken_page_is_found(convex: Convex, tmp_path: Path) -> None:
    """Pages that were overwritten are a problem, and going back to a backup the way out."""
    (root,) = rows(tmp_path, "SELECT rootpage FROM sqlite_master WHERE name = 'lamps'")[0]
    rows(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "convex.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    found = problems(convex)
    assert found
    assert all("flask convex restore" in problem for problem in found)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ('DROP INDEX "lamps.by_name"', "create index by_name on lamps"),
        ("DROP TABLE shades", "create table shades"),
        ("ALTER TABLE lamps DROP COLUMN seen", "add column lamps.seen"),
        ("ALTER TABLE lamps ADD COLUMN price INTEGER", "drop column lamps.price"),
    ],
)
def test_tables_that_differ_from_the_schema_are_found(convex: Convex, tmp_path: Path, change: str, step: str) -> None:
    """Each step that a migration would take is a problem, and `migrate` mends it."""
    rows(tmp_path, "DELETE FROM _settings WHERE key = 'shape'")
    rows(tmp_path, change)
    found = problems(convex)
    assert any(step in problem and "flask convex migrate" in problem for problem in found)
    assert convex("migrate", "--allow-destructive").status == 0
    assert problems(convex) == []


def test_a_migration_that_cannot_be_is_found(convex: Convex, tmp_path: Path) -> None:
    """Rows that do not fit a changed column are told with the migration's own words."""
    rows(tmp_path, "ALTER TABLE lamps ADD COLUMN other TEXT")
    rows(tmp_path, "DROP TABLE shades")
    rows(tmp_path, "CREATE VIEW shades AS SELECT 1")
    assert any("'shades' that this package has not made" in problem for problem in problems(convex))


# --- documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "where"),
    [
        ("tags", "no JSON", "lamps.tags"),
        ("tags", '["a", 1]', "lamps.tags"),
        ("tags", '{"a": 1}', "lamps.tags"),
        ("seen", "yesterday", "lamps.seen"),
        ("seen", "2026-01-01T00:00:00", "$.seen"),
    ],
)
def test_a_document_that_does_not_match_is_found(
    convex: Convex, tmp_path: Path, column: str, value: str, where: str
) -> None:
    """The line has the document's id and the field; sound documents beside it are none."""
    wrong = add(convex, "wrong")
    add(convex, "right")
    rows(tmp_path, f"UPDATE lamps SET {column} = ? WHERE _id = ?", value, wrong)
    (found,) = problems(convex)
    assert wrong in found
    assert where in found


def test_many_of_a_kind_are_counted(convex: Convex, tmp_path: Path) -> None:
    """Ten are told in full, of the others their number."""
    for number in range(13):
        add(convex, str(number))
    rows(tmp_path, "UPDATE lamps SET tags = '?'")
    found = problems(convex)
    assert len(found) == 11
    assert found[-1] == "lamps has 3 more documents that do not match their class"


def test_an_id_of_another_table_is_found(convex: Convex, tmp_path: Path) -> None:
    """A row that no id of its table leads to is a problem."""
    rows(tmp_path, "UPDATE lamps SET _id = 'one' WHERE _id = ?", add(convex))
    (found,) = problems(convex)
    assert "'one' of lamps" in found


def test_a_reference_to_nothing_is_a_note(convex: Convex, tmp_path: Path) -> None:
    """A document may refer to one that was deleted; that is told and is no problem."""
    lamp = add(convex)
    for number, target in enumerate((lamp, NOT_THERE)):
        shade = f"shades_{number:032x}"
        rows(tmp_path, "INSERT INTO shades (_id, _creation_time, lamp) VALUES (?, 1.0, ?)", shade, target)
    (note,) = notes(convex)
    assert f"shades_{1:032x} refers to {NOT_THERE}" in note
    assert "in lamp" in note
    assert convex("check").out.startswith("Note: ")


def test_deliveries_of_no_webhook_are_a_note(convex: Convex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who renames a webhook has its copies run again: each source that no webhook has is told, with how many it has."""
    columns = "_id, _creation_time, source, event_id, type, provider, state, received, expires, due, secret_label, "
    columns += "request_id, size, attempts"
    sources = ["/shop/hook", "/hook", *["former"] * 3, "\x1bnew\nline"]
    for number, source in enumerate(sources):
        rows(
            tmp_path,
            f"INSERT INTO _webhooks ({columns}) VALUES (?, 1.0, ?, ?, '', 'hmac', 'done', 1, 1, 1, 'X', 'r', 0, '[]')",
            *(f"_webhooks_{number:032x}", source, f"e{number}"),
        )
    strange, one, three = notes(convex)
    assert repr("\x1bnew\nline") in strange
    assert one == (
        "1 delivery has the source '/hook', which no webhook of this app has: if one was renamed, a copy of what it "
        "has received would be taken for new; give that webhook source='/hook'"
    )
    assert three.startswith("3 deliveries have the source 'former'")
    assert "\x1b" not in convex("check").out
    module = import_module("flask_convex_http.cli.check")  # the package has a command of that name
    monkeypatch.setattr(module, "_COUNTED", 2)
    monkeypatch.setattr(module, "_TOLD", 1)
    assert notes(convex)[1] == "There are deliveries of 2 more sources that no webhook of this app has"
    rows(tmp_path, "DELETE FROM _webhooks WHERE source < 'a'")
    assert notes(convex)[0].startswith("2 or more deliveries have the source 'former'")


def test_secrets_are_not_told(convex: Convex, tmp_path: Path) -> None:
    """A damaged key or setting is found without its hash or value being shown."""
    convex("keys", "create", "--name", "ci")
    ((digest, secret),) = rows(tmp_path, "SELECT hash, value FROM api_keys JOIN _settings ON _settings.key = 'secret'")
    rows(tmp_path, "UPDATE api_keys SET scopes = hash")
    rows(tmp_path, "UPDATE _settings SET _id = 'one' WHERE key = 'secret'")
    assert len(problems(convex)) == 2
    shown = convex("check")
    assert digest not in shown.out + shown.err
    assert secret not in shown.out + shown.err


def test_what_is_told_cannot_command_the_terminal(convex: Convex, tmp_path: Path) -> None:
    """Control characters in what is wrong are shown escaped, on the problem's one line."""
    rows(tmp_path, "UPDATE lamps SET _id = ? WHERE _id = ?", "\x1b[31m\nred", add(convex))
    shown: Outcome = convex("check")
    assert shown.status == 1
    assert "\x1b" not in shown.out
    assert len(shown.out.splitlines()) == 2


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("DELETE FROM blobs", "has no bytes"),
        ("DELETE FROM chunks", "has no bytes"),
        ("UPDATE blobs SET state = 'writing'", "has no bytes"),
        ("UPDATE chunks SET data = x'68'", "has no bytes"),
        ("UPDATE chunks SET data = x''", "has no bytes"),
        ("UPDATE blobs SET size = 6; UPDATE chunks SET data = x'68656c6c6f6f'", "more or fewer bytes than 5"),
    ],
)
def test_a_file_without_its_bytes_is_found(convex: Convex, tmp_path: Path, damage: str, what: str) -> None:
    """A file whose bytes are not there, or not as many, is a problem with its id."""
    file = store(convex)
    for statement in damage.split(";"):
        in_store(tmp_path, statement)
    for options in ((), ("--files",)):
        (found,) = problems(convex, *options)
        assert file in found
    assert what in problems(convex)[0]
    assert convex("files", "delete", file).status == 0
    assert problems(convex, "--files") == []


def test_other_bytes_are_found_when_they_are_read(convex: Convex, tmp_path: Path) -> None:
    """As many bytes with another digest are found with --files, which reads them, and only then."""
    file = store(convex)
    store(convex, "")
    in_store(tmp_path, "UPDATE chunks SET data = x'48656c6c6f' WHERE length(data) = 5")
    assert problems(convex) == []
    (found,) = problems(convex, "--files")
    assert f"The bytes of the file {file} are not those that were stored" in found


def test_files_are_looked_at_beyond_one_page(convex: Convex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read some at a time, and all of them."""
    monkeypatch.setattr(flask_convex_http.operations.check, "_PAGE", 2)
    files = [store(convex, str(number)) for number in range(5)]
    assert convex("check", "--json").json["files"] == 5
    in_store(tmp_path, "DELETE FROM blobs WHERE key = ?", files[4])
    (found,) = problems(convex)
    assert files[4] in found


def test_without_a_store_every_file_is_a_problem(convex: Convex, tmp_path: Path) -> None:
    """If the store's file is gone, each file is told, and no empty store is made."""
    file = store(convex)
    for path in tmp_path.glob("convex-files.db*"):
        path.unlink()
    (found,) = problems(convex)
    assert file in found
    assert not (tmp_path / "convex-files.db").exists()


def test_a_damaged_store_is_found(convex: Convex, tmp_path: Path) -> None:
    """The file of the bytes is looked at, too."""
    store(convex)
    (root,) = in_store(tmp_path, "SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_chunks%'")[0]
    in_store(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "convex-files.db").open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(b"\xff" * 8192)
    assert any("The store of files is damaged" in problem for problem in problems(convex))


def test_bytes_of_no_file_are_a_note_after_a_day(convex: Convex, tmp_path: Path) -> None:
    """What a crash has left is told once it cannot be an upload any more, and `files sweep` removes it."""
    file, lost = store(convex), store(convex, "lost")
    rows(tmp_path, "DELETE FROM _storage WHERE _id = ?", lost)
    assert notes(convex) == []
    in_store(tmp_path, "UPDATE blobs SET created = created - ?", DAY + 1)
    (note,) = notes(convex)
    assert note.startswith("The bytes of 1 file belong to no row")
    assert "flask convex files sweep" in note
    assert convex("files", "sweep", "--json").json["removed"] == [lost]
    assert notes(convex) == []
    assert convex("files", "list", "--json").json[0]["_id"] == file
