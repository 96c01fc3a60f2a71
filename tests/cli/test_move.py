"""`flask convex move`."""

from pathlib import Path

import pytest

from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.cli.conftest import Convex, Outcome
from tests.cli.shop import make_app
from tests.databases import PostgresServer, rows

THERE = ("--to", "sqlite:///there.db", "--storage", "sqlite:///there-files.db")


@pytest.fixture(name="filled")
def _filled(convex: Convex) -> Convex:
    """Return the command line of an app with a lamp and a file."""
    assert convex("run", "shop:add", '{"name": "Anna"}').status == 0
    assert convex("run", "shop:store", '{"text": "a text"}').status == 0
    return convex


def after(folder: Path, *arguments: str, **config: object) -> Outcome:
    """Run `flask convex ...` with the settings after the move."""
    there = {"CONVEX_DATABASE_URL": "sqlite:///there.db", "CONVEX_STORAGE_URL": "sqlite:///there-files.db"}
    app = make_app(str(folder), **(there | config))
    result = app.test_cli_runner().invoke(args=["convex", *arguments])
    app.extensions["convex_http"].close()
    return Outcome(result.exit_code, result.stdout, result.stderr, None)


def test_tables_are_listed_with_their_checksums(filled: Convex) -> None:
    """Each table with rows is printed with their number and checksum, and the files in a sentence."""
    moved = filled("move", *THERE, "--yes")
    assert (moved.status, moved.exception) == (0, None)
    lines = moved.out.splitlines()
    assert lines[0].split() == ["TABLE", "ROWS", "CHECKSUM"]
    (lamps,) = [line.split() for line in lines if line.startswith("lamps ")]
    assert lamps[1] == "1"
    assert len(lamps[2]) == 32 and int(lamps[2], 16)
    assert "without rows on either side." in moved.out
    assert "1 file (6 bytes) in sqlite:///there-files.db, 1 copied by this run." in moved.out
    assert "run the same command again" in moved.err
    assert len(moved.err.splitlines()) == 1  # no progress where there is no terminal


def test_the_app_works_where_it_was_moved(filled: Convex, tmp_path: Path) -> None:
    """After a change of the settings the app has its rows, keys and files, and can move again."""
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


def test_json_has_both_sides(filled: Convex) -> None:
    """With --json, one document has the rows and checksums of each table on both sides."""
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
    """Rows written since the move are a difference with exit status 1, until the next run copies them."""
    assert filled("move", *THERE, "--yes").status == 0
    filled("run", "shop:add", '{"name": "Bert"}')
    compared = filled("move", *THERE, "--verify-only")
    assert compared.status == 1
    assert "differs: 1 rows" in compared.out
    assert "The two sides differ in lamps, _commits. If the app is running" in compared.err
    assert filled("move", *THERE, "--verify-only", "--json").json["same"] is False
    assert filled("move", *THERE, "--yes").status == 0
    assert filled("move", *THERE, "--verify-only").status == 0


def test_missing_bytes_are_a_failure(filled: Convex, tmp_path: Path) -> None:
    """Files without bytes are named, and the exit status is 1."""
    with_bytes = filled("files", "list", "--json").json[0]["_id"]
    store = SQLiteBlobs(tmp_path / "convex-files.db")
    store.delete(with_bytes)
    store.close()
    moved = filled("move", *THERE, "--yes")
    assert moved.status == 1
    assert f"The file {with_bytes} has no bytes in the source" in moved.out
    assert "Some files are missing or wrong in the target" in moved.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "mysql://db/app"], "--to must look like sqlite:///convex.db"),
        (["--to", ""], "--to must be a text that is not empty"),
        (["--storage", "ftp://files"], "--storage must look like"),
    ],
)
def test_a_malformed_url_is_wrong_usage(filled: Convex, arguments: list[str], said: str, tmp_path: Path) -> None:
    """A URL that names no database or store is wrong usage, and nothing is created."""
    before = sorted(tmp_path.iterdir())
    refused = filled("move", *arguments, "--yes")
    assert (refused.status, refused.out) == (2, "")
    assert said in refused.err
    assert sorted(tmp_path.iterdir()) == before


def test_it_asks_for_confirmation(filled: Convex, tmp_path: Path) -> None:
    """Without --yes the command names the targets and asks; after a no nothing is created."""
    refused = filled("move", *THERE, stdin="n\n")
    assert refused.status == 1
    assert "All tables will be copied to sqlite:///there.db." in refused.err
    assert "The bytes of all files will be copied to sqlite:///there-files.db." in refused.err
    assert not (tmp_path / "there.db").exists()
    assert filled("move", *THERE, stdin="y\n").status == 0


def test_only_the_files_move(filled: Convex, tmp_path: Path) -> None:
    """--storage alone copies the bytes of files and no rows."""
    moved = filled("move", "--storage", "sqlite:///there-files.db", "--yes")
    assert moved.status == 0
    assert "TABLE" not in moved.out
    assert "1 file (6 bytes)" in moved.out
    file = filled("files", "list", "--json").json[0]["_id"]
    store = SQLiteBlobs(tmp_path / "there-files.db")
    assert b"".join(store.read(file)) == b"a text"
    store.close()


def test_only_the_tables_move(filled: Convex, tmp_path: Path) -> None:
    """--to alone copies the tables; the app finds its files where they were."""
    moved = filled("move", "--to", "sqlite:///there.db", "--yes")
    assert moved.status == 0
    assert "file" not in moved.out
    assert not (tmp_path / "there-files.db").exists()
    assert after(tmp_path, "check", CONVEX_STORAGE_URL="sqlite:///convex-files.db").status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "sqlite:///convex.db"], "The app is there already"),
        (["--to", "sqlite:///./convex.db"], "/convex.db already: name another place"),
        (["--to", "sqlite:///convex-files.db"], "cannot move to one file"),
        (["--storage", "sqlite:///convex.db"], "cannot move to one file"),
        (["--to", "sqlite:///x/../convex-files.db", "--storage", "sqlite:///a.db"], "x/../convex-files.db already"),
        (["--storage", "sqlite:///x/../convex.db", "--to", "sqlite:///a.db"], "x/../convex.db already"),
        (["--to", "sqlite:///a.db", "--storage", "sqlite:///a.db"], "cannot move to one file"),
        (["--to", "sqlite:///a.db", "--storage", "sqlite:///./a.db"], "cannot move to one file"),
        (["--to", "sqlite:///:memory:"], "A temporary place is gone"),
    ],
)
def test_impossible_targets_are_refused(filled: Convex, arguments: list[str], said: str, tmp_path: Path) -> None:
    """The app's own files, temporary ones and unknown services are refused in one line, and nothing is created."""
    before = sorted(tmp_path.iterdir())
    refused = filled("move", *arguments, "--yes")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("Error: ") and said in refused.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_target_is_needed(convex: Convex) -> None:
    """A move without a target is wrong usage."""
    assert convex("move", "--yes").status == 2


def test_a_temporary_database_cannot_be_moved(tmp_path: Path) -> None:
    """A move of a temporary database is refused, and the message names the setting."""
    app = make_app(str(tmp_path), CONVEX_DATABASE_URL="sqlite:///:memory:")
    refused = app.test_cli_runner().invoke(args=["convex", "move", *THERE, "--yes"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "set CONVEX_DATABASE_URL" in refused.stderr


def test_a_refused_target_is_one_line(filled: Convex, tmp_path: Path) -> None:
    """A target with foreign rows is refused in one line with exit status 1."""
    assert after(tmp_path, "migrate").status == 0
    assert after(tmp_path, "run", "shop:add", '{"name": "mine"}').status == 0
    refused = filled("move", *THERE, "--yes")
    assert (refused.status, refused.exception) == (1, None)
    assert refused.err == ("Error: The target has rows in lamps that no move has written: name an empty database\n")
    assert [row["name"] for row in after(tmp_path, "data", "lamps", "--json").json] == ["mine"]


def test_a_password_is_not_shown(filled: Convex, postgres: PostgresServer, tmp_path: Path) -> None:
    """No output has the password of a URL, not even if the server cannot be reached."""
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


def test_running_actions_are_counted(filled: Convex, tmp_path: Path) -> None:
    """Scheduled actions that have started and not ended in the source are reported."""
    assert filled("move", *THERE, "--yes", "--json").json["actions_under_way"] == 0
    insert = "insert into _scheduled_functions (_id, _creation_time, name, args, kind, state, scheduled_time, due)"
    rows(
        tmp_path,
        insert + f" values ('_scheduled_functions_{'0' * 32}', 0, 'a:b', '{{}}', 'action', 'inProgress', 0, 0)",
    )
    assert "1 scheduled action had started and not ended." in filled("move", *THERE, "--yes").out
    assert filled("move", *THERE, "--yes", "--json").json["actions_under_way"] == 1
