"""`flask convex files sweep --unattached` and `files compact`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import ActionCtx, ConvexHTTP, Document, Id, MutationCtx, Schema, StoredFile, action, mutation
from tests.cli.outcomes import Convex, Outcome
from tests.databases import folder_config

MIB = 2**20


class Photo(Document, table="photos"):
    file: Id[StoredFile]


class Picture(Document, table="pictures"):
    file: Id[StoredFile]


@action
def store(ctx: ActionCtx, *, size: int, name: str | None = None) -> Id[StoredFile]:
    return ctx.storage.store(bytes(size), content_type="image/png", name=name)


@mutation
def attach(ctx: MutationCtx, *, file: Id[StoredFile]) -> None:
    ctx.db.insert(Photo(file=file))


@pytest.fixture(name="convex")
def _convex(tmp_path: Path) -> Iterator[Convex]:
    """Runs `flask convex ...` of an app with photos."""
    with running(tmp_path, Schema(Photo)) as convex:
        yield convex


@contextmanager
def running(folder: Path, schema: Schema) -> Iterator[Convex]:
    """Yield what runs `flask convex ...` of an app with this schema."""
    app = Flask("photos", instance_path=str(folder))
    app.config.from_mapping(folder_config(folder))
    convex = ConvexHTTP(app, schema=schema, functions=[store, attach])

    def run(*arguments: str, stdin: str = "") -> Outcome:
        result = app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    assert run("migrate").status == 0
    yield run
    with app.app_context():
        convex.backend.close()


def stored(convex: Convex, size: int = 5, name: str = "a.png") -> str:
    """Store a file and return its id."""
    return str(convex("run", next(iter(names(convex, "store"))), f'{{"size": {size}, "name": "{name}"}}').json)


def names(convex: Convex, ending: str) -> list[str]:
    """Return the full names of functions."""
    return [function["name"] for function in convex("functions", "--json").json if function["name"].endswith(ending)]


def ids(convex: Convex) -> list[str]:
    """Return the ids of all files."""
    return [file["_id"] for file in convex("files", "list", "--json").json]


def test_unattached_files_are_deleted_after_a_question(convex: Convex) -> None:
    """The files without a document are listed and deleted if the answer is yes; a dry run and a no change nothing."""
    kept, lost = stored(convex), stored(convex, name="lost \u202e.png")
    convex("run", *names(convex, "attach"), f'{{"file": "{kept}"}}')
    sweep = ("files", "sweep", "--unattached", "--older-than", "0s")
    assert convex(*sweep, "--dry-run", "--json").json == {"dry_run": True, "removed": [lost], "bytes": 5}
    assert "1 unattached file, 5 bytes, to delete" in convex(*sweep, "--dry-run").out
    no = convex(*sweep, stdin="n\n")
    assert no.status == 1 and lost in no.err and "lost .png" in no.err
    assert ids(convex) == [kept, lost]
    yes = convex(*sweep, stdin="y\n")
    assert (yes.status, "1 unattached file, 5 bytes, deleted." in yes.out) == (0, True)
    assert ids(convex) == [kept]
    assert convex(*sweep).out == "0 unattached files, 0 bytes, deleted.\n"


def test_rows_that_no_class_describes_keep_their_files(convex: Convex, tmp_path: Path) -> None:
    """While a table with rows has no class, as after a rename, nothing is swept, and the error names the table."""
    kept = stored(convex)
    convex("run", *names(convex, "attach"), f'{{"file": "{kept}"}}')
    with running(tmp_path, Schema(Picture)) as renamed:
        swept = renamed("files", "sweep", "--unattached", "--older-than", "0s", "--yes")
        assert (swept.status, "Rows of photos may refer to files" in swept.err) == (1, True)
        assert ids(renamed) == [kept]


def test_a_sweep_without_a_question(convex: Convex) -> None:
    """With --yes nothing is asked, and files of the last day are left alone by default."""
    lost = stored(convex)
    assert convex("files", "sweep", "--unattached", "--yes", "--json").json["removed"] == []
    swept = convex("files", "sweep", "--unattached", "--older-than", "0s", "--yes", "--json")
    assert swept.json == {"dry_run": False, "removed": [lost], "bytes": 5}
    assert convex("files", "sweep", "--yes").status == 2


def test_space_is_shown_and_given_back(convex: Convex, tmp_path: Path) -> None:
    """The list of files shows the space of deleted ones, and `files compact` gives it back."""
    convex("files", "delete", stored(convex, size=3 * MIB))
    assert "run `flask convex files compact`" in convex("files", "list").err
    compacted = convex("files", "compact", "--json")
    assert compacted.json["bytes"] > 3 * MIB
    assert convex("files", "list").err == ""
    assert convex("files", "compact").out == "0 bytes were given back.\n"
    assert sum(path.stat().st_size for path in tmp_path.glob("*files.db")) < MIB
