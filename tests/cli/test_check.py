"""`flask convex check`: sound data passes, and each kind of damage is reported with its place."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import flask_convex_http.operations.pages
from flask_convex_http.inbox import unknown_sources
from flask_convex_http.sqlite.connections import sqlite3
from tests.cli.conftest import Convex, Outcome
from tests.databases import rows

UNKNOWN = "lamps_" + "0" * 32
DAY = 86_400
#: The note on an app with webhooks and no URL of its own, such as the tests' app.
_NO_SITE = "CONVEX_SITE_URL is not set, and this app receives webhooks"


def add(convex: Convex, name: str = "Anna", **fields: Any) -> str:
    """Store a lamp."""
    return str(convex("run", "shop:add", json.dumps({"name": name, **fields})).json)


def store(convex: Convex, text: str = "hello") -> str:
    """Store a file."""
    return str(convex("run", "shop:store", json.dumps({"text": text})).json)


def in_store(folder: Path, sql: str, *values: Any) -> list[Any]:
    """Run a statement in the blob store, as another program does."""
    with closing(sqlite3.connect(folder / "convex-files.db", isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()


def problems(convex: Convex, *options: str) -> list[str]:
    """Return the problems of a check, which people and programs get alike."""
    found = convex("check", *options, "--json")
    sentences: list[str] = found.json["problems"]
    assert found.status == (1 if sentences else 0)
    shown = convex("check", *options)
    assert shown.status == found.status
    lines = [line for line in shown.out.splitlines() if line.startswith("Problem: ")]
    assert lines == [f"Problem: {sentence}." for sentence in sentences]
    return sentences


def notes(convex: Convex) -> list[str]:
    """Return the notes of a check without problems."""
    found = convex("check", "--json")
    assert (found.status, found.json["problems"]) == (0, [])
    sentences: list[str] = found.json["notes"]
    assert len([sentence for sentence in sentences if sentence.startswith(_NO_SITE)]) == 1
    return [sentence for sentence in sentences if not sentence.startswith(_NO_SITE)]


@contextmanager
def without_index(folder: Path, name: str) -> Iterator[None]:
    """Hide an index from SQLite during a `with` statement, so that it misses written rows."""
    with closing(sqlite3.connect(folder / "convex.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (entry,) = connection.execute("SELECT * FROM sqlite_master WHERE name = ?", (name,)).fetchall()
        connection.execute("DELETE FROM sqlite_master WHERE name = ?", (name,))
        rows(folder, "CREATE TABLE other (a)")  # the schema has changed, so every connection reads it again
        yield
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
        rows(folder, "DROP TABLE other")


# --- sound data ------------------------------------------------------------------------------------------------------


def test_sound_data_has_no_problems(convex: Convex, tmp_path: Path) -> None:
    """A check of sound documents and files prints how many it has checked and exits with 0."""
    add(convex)
    store(convex)
    assert problems(convex, "--files") == []
    assert notes(convex) == []
    found = convex("check", "--json").json
    assert (found["problems"], found["rows"], found["files"]) == ([], 6, 1)
    shown = convex("check")
    assert shown.out.splitlines()[1:] == ["6 rows and 1 file checked: no problems."]
    assert shown.err == ""


def test_a_check_creates_nothing(unmigrated: Convex, tmp_path: Path) -> None:
    """A check needs a database but no blob store, and creates neither."""
    refused = unmigrated("check", "--json")
    assert (refused.status, refused.out) == (1, "")
    assert "flask convex migrate" in refused.err
    assert os.listdir(tmp_path) == []
    unmigrated("migrate")
    assert notes(unmigrated) == []
    assert not (tmp_path / "convex-files.db").exists()


def test_a_check_does_not_wait_for_writers(convex: Convex, tmp_path: Path) -> None:
    """A check reads the committed rows while another process holds the write lock."""
    with closing(sqlite3.connect(tmp_path / "convex.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM _settings")
        started = time.monotonic()
        assert problems(convex) == []
        assert time.monotonic() - started < 5


# --- the database ----------------------------------------------------------------------------------------------------


def test_a_row_that_an_index_misses_is_found(convex: Convex, tmp_path: Path) -> None:
    """A row that is missing in an index is reported, and the remedy in the message fixes it."""
    with without_index(tmp_path, "lamps.by_name"):
        add(convex)
    found = problems(convex)
    assert any("missing from index lamps.by_name" in problem for problem in found)
    assert all("REINDEX" in problem for problem in found)
    rows(tmp_path, "REINDEX")
    assert problems(convex) == []


def test_a_row_out_of_order_is_found(convex: Convex, tmp_path: Path) -> None:
    """A row of another program whose id is not of its creation time is noted."""
    lamp = add(convex)
    rows(tmp_path, "UPDATE lamps SET _creation_time = _creation_time - 5000")
    assert notes(convex) == [f"The document {lamp} is in the order of its id, which is not of its creation time"]


def test_two_rows_with_one_unique_value_are_found(convex: Convex, tmp_path: Path) -> None:
    """Two rows with one value of a unique index are reported, although the index misses one."""
    with without_index(tmp_path, "_settings.by_key"):
        rows(
            tmp_path,
            "INSERT INTO _settings (_id, _creation_time, key, value) "
            "SELECT '_settings_' || printf('%032d', 1), 1.0, key, value FROM _settings WHERE key = 'secret'",
        )
    assert any("index _settings.by_key" in problem for problem in problems(convex))


def test_a_broken_page_is_found(convex: Convex, tmp_path: Path) -> None:
    """Overwritten pages are problems, and the messages name the command that restores a backup."""
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
    """Each step of a pending migration is a problem, and `migrate` fixes it."""
    rows(tmp_path, "DELETE FROM _settings WHERE key = 'shape'")
    rows(tmp_path, change)
    found = problems(convex)
    assert any(step in problem and "flask convex migrate" in problem for problem in found)
    assert convex("migrate", "--allow-destructive").status == 0
    assert problems(convex) == []


def test_an_impossible_migration_is_found(convex: Convex, tmp_path: Path) -> None:
    """A pending migration that would be refused is reported with the message of the migration."""
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
    """A document that does not match its class is reported with its id and field; sound ones are not."""
    wrong = add(convex, "wrong")
    add(convex, "right")
    rows(tmp_path, f"UPDATE lamps SET {column} = ? WHERE _id = ?", value, wrong)
    (found,) = problems(convex)
    assert wrong in found
    assert where in found


def test_many_problems_of_a_kind_are_counted(convex: Convex, tmp_path: Path) -> None:
    """Ten problems of a kind are reported in full, and the others as a number."""
    for number in range(13):
        add(convex, str(number))
    rows(tmp_path, "UPDATE lamps SET tags = '?'")
    found = problems(convex)
    assert len(found) == 11
    assert found[-1] == "lamps has 3 more documents that do not match their class"


def test_an_id_of_another_table_is_found(convex: Convex, tmp_path: Path) -> None:
    """A row whose id is not one of its table is a problem."""
    rows(tmp_path, "UPDATE lamps SET _id = 'one' WHERE _id = ?", add(convex))
    (found,) = problems(convex)
    assert "'one' of lamps" in found


def test_a_dangling_reference_is_a_note(convex: Convex, tmp_path: Path) -> None:
    """A reference to a document that does not exist is a note and no problem."""
    lamp = add(convex)
    for number, target in enumerate((lamp, UNKNOWN)):
        shade = f"shades_{number:032x}"
        rows(tmp_path, "INSERT INTO shades (_id, _creation_time, lamp) VALUES (?, 0.0, ?)", shade, target)
    (note,) = notes(convex)
    assert f"shades_{1:032x} refers to {UNKNOWN}" in note
    assert "in lamp" in note
    assert convex("check").out.startswith("Note: ")


def test_deliveries_of_unknown_sources_are_notes(
    convex: Convex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source that no webhook has, as after a rename, is a note with the number of its deliveries."""
    columns = "_id, _creation_time, source, event_id, type, provider, state, received, expires, due, secret_label, "
    columns += "request_id, size, attempts"
    sources = ["/shop/hook", "/hook", *["former"] * 3, "\x1bnew\nline"]
    for number, source in enumerate(sources):
        rows(
            tmp_path,
            f"INSERT INTO _webhooks ({columns}) VALUES (?, 0.0, ?, ?, '', 'hmac', 'done', 1, 1, 1, 'X', 'r', 0, '[]')",
            *(f"_webhooks_{number:032x}", source, f"e{number}"),
        )
    strange, one, three = notes(convex)
    assert repr("\x1bnew\nline") in strange
    assert one == (
        "1 delivery has the source '/hook', which no webhook has: if one was renamed, duplicates of these deliveries "
        "would run again; give that webhook source='/hook'"
    )
    assert three.startswith("3 deliveries have the source 'former'")
    assert "\x1b" not in convex("check").out
    monkeypatch.setattr(unknown_sources, "_MAX_COUNT", 2)
    monkeypatch.setattr(unknown_sources, "_MAX_SOURCES", 1)
    assert notes(convex)[1] == "There are deliveries of 2 more sources that no webhook has"
    rows(tmp_path, "DELETE FROM _webhooks WHERE source < 'a'")
    assert notes(convex)[0].startswith("2 or more deliveries have the source 'former'")


def test_secrets_are_not_printed(convex: Convex, tmp_path: Path) -> None:
    """A damaged key or setting is reported without its hash or value."""
    convex("keys", "create", "--name", "ci")
    ((digest, secret),) = rows(tmp_path, "SELECT hash, value FROM api_keys JOIN _settings ON _settings.key = 'secret'")
    rows(tmp_path, "UPDATE api_keys SET scopes = hash")
    rows(tmp_path, "UPDATE _settings SET _id = 'one' WHERE key = 'secret'")
    assert len(problems(convex)) == 2
    shown = convex("check")
    assert digest not in shown.out + shown.err
    assert secret not in shown.out + shown.err


def test_output_cannot_command_the_terminal(convex: Convex, tmp_path: Path) -> None:
    """Control characters in a problem are printed escaped, on one line."""
    rows(tmp_path, "UPDATE lamps SET _id = ? WHERE _id = ?", "\x1b[31m\nred", add(convex))
    shown: Outcome = convex("check")
    assert shown.status == 1
    assert "\x1b" not in shown.out
    assert [line.partition(":")[0] for line in shown.out.splitlines()] == [
        "Problem",
        "Note",
        "5 rows and 0 files checked",
    ]


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
    """A file with missing bytes or another size is a problem with its id."""
    file = store(convex)
    for statement in damage.split(";"):
        in_store(tmp_path, statement)
    for options in ((), ("--files",)):
        (found,) = problems(convex, *options)
        assert file in found
    assert what in problems(convex)[0]
    assert convex("files", "delete", file).status == 0
    assert problems(convex, "--files") == []


def test_changed_bytes_are_found_with_files(convex: Convex, tmp_path: Path) -> None:
    """Changed bytes of the same size are found with --files only, which reads them."""
    file = store(convex)
    store(convex, "")
    in_store(tmp_path, "UPDATE chunks SET data = x'48656c6c6f' WHERE length(data) = 5")
    assert problems(convex) == []
    (found,) = problems(convex, "--files")
    assert f"The bytes of the file {file} are not those that were stored" in found


def test_files_are_checked_beyond_one_page(convex: Convex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of all pages are checked."""
    monkeypatch.setattr(flask_convex_http.operations.pages, "_MAX_ROWS", 2)
    files = [store(convex, str(number)) for number in range(5)]
    assert convex("check", "--json").json["files"] == 5
    in_store(tmp_path, "DELETE FROM blobs WHERE key = ?", files[4])
    (found,) = problems(convex)
    assert files[4] in found


def test_without_a_store_every_file_is_a_problem(convex: Convex, tmp_path: Path) -> None:
    """Without the blob store's file, each file is a problem, and no empty store is created."""
    file = store(convex)
    for path in tmp_path.glob("convex-files.db*"):
        path.unlink()
    (found,) = problems(convex)
    assert file in found
    assert not (tmp_path / "convex-files.db").exists()


def test_a_damaged_store_is_found(convex: Convex, tmp_path: Path) -> None:
    """Damage of the blob store's file is a problem."""
    store(convex)
    (root,) = in_store(tmp_path, "SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_chunks%'")[0]
    in_store(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "convex-files.db").open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(b"\xff" * 8192)
    assert any("The blob store is damaged" in problem for problem in problems(convex))


def test_orphaned_blobs_are_a_note_after_a_day(convex: Convex, tmp_path: Path) -> None:
    """A blob without a file is a note once it is too old for an upload, and `files sweep` deletes it."""
    file, lost = store(convex), store(convex, "lost")
    rows(tmp_path, "DELETE FROM _storage WHERE _id = ?", lost)
    assert notes(convex) == []
    in_store(tmp_path, "UPDATE blobs SET created = created - ?", DAY + 1)
    (note,) = notes(convex)
    assert note.startswith("1 blob has no file")
    assert "flask convex files sweep" in note
    assert convex("files", "sweep", "--json").json["removed"] == [lost]
    assert notes(convex) == []
    assert convex("files", "list", "--json").json[0]["_id"] == file


def test_a_database_that_everybody_can_read(convex: Convex, tmp_path: Path) -> None:
    """The check notes files of an earlier version that every user of the machine can read, and how to change that."""
    store(convex)
    assert notes(convex) == []
    for path in (tmp_path / "convex.db", tmp_path / "convex-files.db"):
        path.chmod(0o644)
    assert notes(convex) == []  # nobody else can enter the folder
    tmp_path.chmod(0o755)
    assert notes(convex) == [
        f"Every user of this machine can read {tmp_path}/{name}; stop the app and run `chmod o-rwx {tmp_path}/{name}*`"
        for name in ("convex.db", "convex-files.db")
    ]
