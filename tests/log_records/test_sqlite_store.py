"""The log store of SQLite: a file of its own, whose loss or damage harms nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http.log import logger_of
from tests.log_records.apps import logs_of, shop
from tests.web.apps import backend_of


def _post(app: object) -> int:
    status: int = app.test_client().post("/orders/tea").status_code  # type: ignore[attr-defined]
    return status


def test_the_file_is_beside_the_database_and_private(tmp_path: Path) -> None:
    """The records are in `convex-logs.db` beside `convex.db`, which only its owner may read."""
    with shop(tmp_path, is_kept=True) as app:
        database = backend_of(app).location.path
        assert database is not None
        path = database.with_name("convex-logs.db")
        assert path.exists()
        assert path.stat().st_mode & 0o077 == 0
        _post(app)
    with shop(tmp_path, is_kept=True) as app:
        assert logs_of(app).read(kind="request"), "they outlive the process"


@pytest.mark.parametrize("damage", ["garbage", "header", "release", "gone"])
def test_a_damaged_file_is_replaced(tmp_path: Path, damage: str) -> None:
    """A file that is damaged, of another release or gone is replaced by an empty one, and requests go on."""
    with shop(tmp_path, is_kept=True) as app:
        database = backend_of(app).location.path
        assert database is not None
        path = database.with_name("convex-logs.db")
        _post(app)
    _damage(path, damage)
    with shop(tmp_path, is_kept=True) as app:
        assert _post(app) == 200
        assert len(logs_of(app).read(kind="request")) == 1
        assert _post(app) == 200
        assert len(logs_of(app).read(kind="request")) == 2


def _damage(path: Path, damage: str) -> None:
    if damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "header":
        path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
    elif damage == "gone":
        path.unlink()
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("DROP TABLE segments; CREATE TABLE segments (x); PRAGMA user_version = 99")


def test_a_store_that_cannot_be_written_breaks_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the store cannot be created, requests are served, and the log says so once."""
    with shop(tmp_path, is_kept=True) as app:
        database = backend_of(app).location.path
        assert database is not None
    for file in database.parent.glob("convex-logs.db*"):
        file.unlink()
    database.with_name("convex-logs.db").mkdir()
    with shop(tmp_path, is_kept=True) as app:
        for _ in range(3):
            assert _post(app) == 200
            logs_of(app).flush()
    assert caplog.text.count("Log records cannot be stored, and are lost") == 1


def test_a_closed_store_is_not_opened_by_lines_of_others(tmp_path: Path) -> None:
    """A line of the package outside of any request goes to the stores that are open, and to no closed one."""
    with shop(tmp_path / "first", is_kept=True) as first, shop(tmp_path / "second", is_kept=True) as second:
        logs_of(first).close()
        path = backend_of(first).location.path
        assert path is not None
        for file in path.parent.glob("convex-logs.db*"):
            file.unlink()
        logger_of().error("something outside of every request")
        assert [record.message for record in logs_of(second).read(text="outside of every")] != []
        logs_of(first).flush()
        assert not path.with_name("convex-logs.db").exists()
