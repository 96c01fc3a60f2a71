"""`flask convex files`."""

from pathlib import Path

import pytest

from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.cli.conftest import Convex
from tests.cli.shop import make_app

NO_FILE = "_storage_" + "0" * 32


def leave_bytes(folder: Path) -> str:
    """Store a blob without a row, as a crash may leave it."""
    blobs = SQLiteBlobs(folder / "convex-files.db")
    blobs.write("lost", [b"bytes"])
    blobs.close()
    return "lost"


def stored_keys(folder: Path) -> set[str]:
    """Return the keys of all blobs."""
    blobs = SQLiteBlobs(folder / "convex-files.db")
    found = set(dict(blobs.keys()))
    blobs.close()
    return found


def test_files_are_listed(convex: Convex) -> None:
    """Each file is listed with its id, size and type."""
    assert "no stored files" in convex("files", "list").out
    file = convex("run", "shop:store", '{"text": "hello"}').json
    (listed,) = convex("files", "list", "--json").json
    assert (listed["_id"], listed["size"], listed["content_type"]) == (file, 5, "text/plain")
    shown = convex("files", "list").out
    assert file in shown
    assert "1 file, 5 bytes." in shown


def test_a_sweep_deletes_orphaned_blobs(convex: Convex, tmp_path: Path) -> None:
    """A dry run lists the orphaned blobs, and a sweep deletes them and leaves files alone."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    lost = leave_bytes(tmp_path)
    planned = convex("files", "sweep", "--older-than", "0s", "--dry-run", "--json")
    assert planned.json == {"dry_run": True, "looked_at": 2, "removed": [lost]}
    assert stored_keys(tmp_path) == {file, lost}
    swept = convex("files", "sweep", "--older-than", "0s")
    assert swept.status == 0
    assert "1 blob" in swept.out
    assert swept.err == ""
    assert stored_keys(tmp_path) == {file}


def test_a_sweep_leaves_new_blobs(convex: Convex, tmp_path: Path) -> None:
    """By default a sweep leaves blobs of the last hour, which may belong to an upload."""
    lost = leave_bytes(tmp_path)
    assert convex("files", "sweep", "--json").json["removed"] == []
    assert stored_keys(tmp_path) == {lost}


def test_a_file_is_deleted_with_its_bytes(convex: Convex, tmp_path: Path) -> None:
    """Deleting a file removes its row and its bytes."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    assert convex("files", "delete", file).status == 0
    assert convex("files", "list", "--json").json == []
    assert stored_keys(tmp_path) == set()
    assert convex("files", "delete", file).status == 1


@pytest.mark.parametrize("command", ["delete", "url"])
@pytest.mark.parametrize("file", [NO_FILE, "nonsense", "", "\udcff"])
def test_an_unknown_file_is_an_error(convex: Convex, command: str, file: str) -> None:
    """An id of no file is an error in one line."""
    refused = convex("files", command, file)
    assert refused.status == 1
    assert refused.err.startswith("Error: ")
    assert refused.exception is None


def test_a_url_opens_the_file(convex: Convex, tmp_path: Path) -> None:
    """The printed URL opens the file, and a note says that it is only the path."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    linked = convex("files", "url", file)
    assert "CONVEX_SITE_URL" in linked.err
    app = make_app(str(tmp_path))
    response = app.test_client().get(linked.out.strip())
    assert response.data == b"hello"
    response.close()
    app.extensions["convex_http"].close()


def test_a_url_starts_with_the_site(convex: Convex, tmp_path: Path) -> None:
    """With CONVEX_SITE_URL the URL is complete."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    app = make_app(str(tmp_path), CONVEX_SITE_URL="https://example.com")
    linked = app.test_cli_runner().invoke(args=["convex", "files", "url", file])
    assert linked.stdout.startswith("https://example.com/")
    assert linked.stderr == ""
    app.extensions["convex_http"].close()


def test_without_fields_of_files_no_file_is_unattached(convex: Convex) -> None:
    """An app without a field of files gets an error with the line to add, instead of losing all files."""
    file = convex("run", "shop:store", '{"text": "hello"}').json
    refused = convex("files", "sweep", "--unattached", "--older-than", "0s", "--yes")
    assert (refused.status, "Id[StoredFile]" in refused.err) == (1, True)
    assert [listed["_id"] for listed in convex("files", "list", "--json").json] == [file]
