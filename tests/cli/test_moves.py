"""`flask convex move`."""

from pathlib import Path

import pytest

from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.cli.conftest import Convex, Outcome
from tests.cli.shop import make_app
from tests.databases import PostgresServer

THERE = ("--to", "sqlite:///there.db", "--storage", "sqlite:///there-files.db")


@pytest.fixture(name="filled")
def _filled(convex: Convex) -> Convex:
    """The command line of an app that has a lamp and a file."""
    assert convex("run", "shop:add", '{"name": "Anna"}').status == 0
    assert convex("run", "shop:store", '{"text": "a text"}').status == 0
    return convex


def after(folder: Path, *arguments: str, **config: object) -> Outcome:
    """Run `flask convex ...` with the settings as they are after the move."""
    there = {"CONVEX_DATABASE_URL": "sqlite:///there.db", "CONVEX_STORAGE_URL": "sqlite:///there-files.db"}
    app = make_app(str(folder), **(there | config))
    result = app.test_cli_runner().invoke(args=["convex", *arguments])
    app.extensions["convex_http"].close()
    return Outcome(result.exit_code, result.stdout, result.stderr, None)


def test_tables_are_listed_with_their_checksums(filled: Convex) -> None:
    """Each table that has rows is shown with their number and a checksum, and the files in a sentence."""
    moved = filled("move", *THERE, "--yes")
    assert (moved.status, moved.exception) == (0, None)
    lines = moved.out.splitlines()
    assert lines[0].split() == ["TABLE", "ROWS", "CHECKSUM"]
    (lamps,) = [line.split() for line in lines if line.startswith("lamps ")]
    assert lamps[1] == "1"
    assert len(lamps[2]) == 32 and int(lamps[2], 16)
    assert "without rows on either side." in moved.out
    assert "1 file (6 bytes) in sqlite:///there-files.db, 1 brought by this run." in moved.out
    assert "run the same command again" in moved.err
    assert len(moved.err.splitlines()) == 1  # no progress where there is no terminal


def test_the_app_works_where_it_was_moved(filled: Convex, tmp_path: Path) -> None:
    """With the settings changed the app has its rows, its keys and its files, and can be moved back."""
    key = filled("keys", "create", "--name", "ci").out.strip()
    assert filled("move", *THERE, "--yes").status == 0
    (lamp,) = after(tmp_path, "data", "lamps", "--json").json
    assert lamp["name"] == "Anna"
    assert [row["name"] for row in after(tmp_path, "keys", "list", "--json").json] == ["ci"]
    app = make_app(
        str(tmp_path), CONVEX_DATABASE_URL="sqlite:///there.db", CONVEX_STORAGE_URL="sqlite:///there-files.db"
    )
    backend = app.extensions["convex_http"]
    assert backend.api_keys.verify(key) is not None
    backend.close()
    assert "There is nothing" not in after(tmp_path, "check").out
    assert after(tmp_path, "check").status == 0
    home = after(tmp_path, "move", "--to", "sqlite:///home.db", "--storage", "sqlite:///home-files.db", "--yes")
    assert home.status == 0


def test_a_program_reads_both_sides(filled: Convex) -> None:
    """With --json there is one document, that has each table with what it holds on both sides."""
    document = filled("move", *THERE, "--yes", "--json").json
    assert document["same"] is True
    assert (document["database"], document["storage"]) == ("sqlite:///there.db", "sqlite:///there-files.db")
    (lamps,) = [table for table in document["tables"] if table["table"] == "lamps"]
    assert lamps["rows"] == lamps["target_rows"] == 1
    assert lamps["checksum"] == lamps["target_checksum"]
    assert lamps["same"] is True
    assert document["files"] == {"files": 1, "bytes": 6, "copied": 1, "faults": 0, "problems": []}
    assert (document["left_behind"], document["actions_under_way"]) == ([], 0)


def test_a_difference_is_a_failure(filled: Convex) -> None:
    """What was written since shows in a comparison, with both numbers; the next run brings it."""
    assert filled("move", *THERE, "--yes").status == 0
    filled("run", "shop:add", '{"name": "Bert"}')
    compared = filled("move", *THERE, "--verify-only")
    assert compared.status == 1
    assert "differs: 1 rows" in compared.out
    assert "The two sides differ in lamps. If the app runs" in compared.err
    assert filled("move", *THERE, "--verify-only", "--json").json["same"] is False
    assert filled("move", *THERE, "--yes").status == 0
    assert filled("move", *THERE, "--verify-only").status == 0


def test_missing_bytes_are_a_failure(filled: Convex, tmp_path: Path) -> None:
    """Files without their bytes are named, and the exit status says so."""
    with_bytes = filled("files", "list", "--json").json[0]["_id"]
    store = SQLiteBlobs(tmp_path / "convex-files.db")
    store.delete(with_bytes)
    store.close()
    moved = filled("move", *THERE, "--yes")
    assert moved.status == 1
    assert f"The file {with_bytes} has no bytes in the source" in moved.out
    assert "Some files are not there as they should be" in moved.err


def test_it_asks_first(filled: Convex, tmp_path: Path) -> None:
    """Without --yes it says what would be done where, and a no leaves everything as it is."""
    refused = filled("move", *THERE, stdin="n\n")
    assert refused.status == 1
    assert "All tables will be copied to sqlite:///there.db, which is empty." in refused.err
    assert "The bytes of all files will be copied to sqlite:///there-files.db." in refused.err
    assert not (tmp_path / "there.db").exists()
    assert filled("move", *THERE, stdin="y\n").status == 0
    assert "has 3 rows that a run before has brought" in filled("move", *THERE, stdin="n\n").err


def test_only_the_store_moves(filled: Convex, tmp_path: Path) -> None:
    """--storage alone copies the bytes and leaves the database alone."""
    moved = filled("move", "--storage", "sqlite:///there-files.db", "--yes")
    assert moved.status == 0
    assert "TABLE" not in moved.out
    assert "1 file (6 bytes)" in moved.out
    file = filled("files", "list", "--json").json[0]["_id"]
    store = SQLiteBlobs(tmp_path / "there-files.db")
    assert b"".join(store.read(file)) == b"a text"
    store.close()


def test_only_the_database_moves(filled: Convex, tmp_path: Path) -> None:
    """--to alone copies the tables; the files stay where they are, and are found from there."""
    moved = filled("move", "--to", "sqlite:///there.db", "--yes")
    assert moved.status == 0
    assert "file" not in moved.out
    assert not (tmp_path / "there-files.db").exists()
    assert after(tmp_path, "check", CONVEX_STORAGE_URL="sqlite:///convex-files.db").status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "sqlite:///convex.db"], "The app is there already"),
        (["--to", "sqlite:///./convex.db"], "--to names what the app has already"),
        (["--to", "sqlite:///convex-files.db"], "--storage must name another file than --to"),
        (["--storage", "sqlite:///convex.db"], "--storage must name another file than --to"),
        (["--to", "sqlite:///x/../convex-files.db"], "--to names what the app has already"),
        (["--storage", "sqlite:///x/../convex.db"], "--storage names what the app has already"),
        (["--to", "sqlite:///a.db", "--storage", "sqlite:///a.db"], "--storage must name another file than --to"),
        (["--to", "sqlite:///a.db", "--storage", "sqlite:///./a.db"], "--storage must name another file than --to"),
        (["--to", "sqlite:///:memory:"], "--to names a temporary place"),
        (["--to", "mysql://db/app"], "--to must look like sqlite:///convex.db"),
        (["--to", ""], "--to must be a text that is not empty"),
        (["--storage", "ftp://files"], "--storage must look like"),
    ],
)
def test_places_that_cannot_be_are_refused(filled: Convex, arguments: list[str], said: str, tmp_path: Path) -> None:
    """The app's own files, temporary ones and other services are refused in one line, and nothing is made."""
    before = sorted(tmp_path.iterdir())
    refused = filled("move", *arguments, "--yes")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("Error: ") and said in refused.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_place_is_needed(convex: Convex) -> None:
    """Without a target it is wrong usage."""
    assert convex("move", "--yes").status == 2


def test_a_temporary_database_cannot_be_moved(tmp_path: Path) -> None:
    """An app without a database to keep says which setting is missing."""
    app = make_app(str(tmp_path), CONVEX_DATABASE_URL="sqlite:///:memory:")
    refused = app.test_cli_runner().invoke(args=["convex", "move", *THERE, "--yes"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "set CONVEX_DATABASE_URL" in refused.stderr


def test_a_refusal_is_one_line(filled: Convex, tmp_path: Path) -> None:
    """A target that is taken is said to be, with status 1."""
    assert after(tmp_path, "migrate").status == 0
    assert after(tmp_path, "run", "shop:add", '{"name": "mine"}').status == 0
    refused = filled("move", *THERE, "--yes")
    assert (refused.status, refused.exception) == (1, None)
    assert refused.err == ("Error: The target has rows in lamps that no move has brought: name an empty database\n")
    assert [row["name"] for row in after(tmp_path, "data", "lamps", "--json").json] == ["mine"]


def test_a_password_is_not_shown(filled: Convex, postgres: PostgresServer, tmp_path: Path) -> None:
    """What is printed of a URL has no password, also where the server refuses it."""
    url = postgres.make()
    secret = url.replace("postgres@/", "postgres:hush-hush@/")
    for arguments in (["--yes"], ["--json", "--yes"], ["--verify-only"]):
        done = filled("move", "--to", secret, *arguments)
        assert done.status == 0
        assert "hush" not in done.out + done.err
    here = {"CONVEX_DATABASE_URL": "sqlite:///convex.db", "CONVEX_WRITE_TIMEOUT": 0.2}
    nowhere = after(tmp_path, "move", "--to", "postgresql://app:hush-hush@127.0.0.1:1/app", "--yes", **here)
    assert nowhere.status == 1
    assert nowhere.err.startswith("Error: The database cannot be")
    assert "hush" not in nowhere.out + nowhere.err
