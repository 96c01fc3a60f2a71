"""Databases in a folder, or on a volume, that the app cannot write: the operator reads the path and the cause."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP, Schema
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.errors import ConfigurationError, UnavailableError
from flask_convex_http.storage.blobs import SQLiteBlobs
from tests.engines.members import SCHEMA, insert, migrate, price, set_price
from tests.sqlite.limits import no_rights_of_root
from tests.sqlite.test_over_http import Note, add, notes, texts
from tests.web.apps import backend_of, send

pytestmark = pytest.mark.usefixtures("permissions_count")


@pytest.fixture(name="permissions_count")
def _permissions_count() -> Iterator[None]:
    with no_rights_of_root():
        yield


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Iterator[Path]:
    """Return the path of a database with the item "a", in a folder that cannot be written any more."""
    path = tmp_path / "volume" / "convex.db"
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        migrate(engine)
        engine.write(lambda transaction: insert(transaction, "a", 1))
    path.parent.chmod(0o500)
    yield path
    path.parent.chmod(0o700)


def test_a_folder_that_cannot_be_written(path: Path) -> None:
    """Reads, writes and migrations raise an UnavailableError, whose detail names the folder and the cause."""
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        uses: list[Callable[[], object]] = [
            lambda: price(engine),
            lambda: engine.write(set_price(2)),
            lambda: migrate(engine),
        ]
        for use in uses:
            with pytest.raises(UnavailableError) as caught:
                use()
            assert f"{path.parent} cannot be written by the user of the app" in caught.value.detail
            assert str(path.parent) not in str(caught.value)


def test_a_file_that_cannot_be_written(path: Path) -> None:
    """A database that can only be read can be read, and a write names the file and the cause."""
    path.parent.chmod(0o700)
    path.chmod(0o400)
    with closing(SQLiteEngine(path, SCHEMA)) as engine:
        assert price(engine) == 1
        with pytest.raises(UnavailableError) as caught:
            engine.write(set_price(2))
    assert f"{path} cannot be written by the user of the app" in caught.value.detail


def test_nothing_can_be_created(path: Path) -> None:
    """A database or a file store that cannot be created is an error that names it and the cause."""
    with (
        closing(SQLiteEngine(path.with_name("new.db"), SCHEMA)) as engine,
        pytest.raises(ConfigurationError, match=r"volume/new\.db cannot be created: .*Permission denied"),
    ):
        migrate(engine)
    with closing(SQLiteBlobs(path.with_name("files.db"))) as blobs, pytest.raises(UnavailableError) as caught:
        blobs.write("a", [b"x"])
    assert "volume/files.db cannot be created" in caught.value.detail


def test_clients_and_commands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client gets 503 without the path, the log names it, and a command prints it in one line."""
    app = Flask("shop", instance_path=str(tmp_path / "volume"))
    app.config["CONVEX_WORKER"] = "off"
    ConvexHTTP(app, schema=Schema(Note), functions=[add, texts])
    app.register_blueprint(notes())
    backend_of(app).migrate()
    backend_of(app).close()
    (tmp_path / "volume").chmod(0o500)
    try:
        with caplog.at_level(logging.ERROR):
            response = send(app, "POST", "/notes", QUERY_STRING="text=x")
        printed = app.test_cli_runner().invoke(args=["convex", "migrate"])
    finally:
        (tmp_path / "volume").chmod(0o700)
    assert (response.status_code, "volume" in response.text, response.headers["Retry-After"]) == (503, False, "10")
    cause = f"{tmp_path}/volume cannot be written by the user of the app"
    assert cause in caplog.text
    assert printed.exit_code == 1
    [line] = printed.stderr.splitlines()
    assert line.startswith("Error: ") and cause in line
