"""Webhooks over HTTP against Flask with Stripe's library and `sqlite3` by hand: `python -m benchmarks.webhooks`.

Each delivery is verified, looked up, recorded with its body and handled with one inserted row, in one durable commit.
Each has an event of its own, except where a line has duplicates. Two workers, 32 connections. Afterwards there must be
exactly one row for each event. Rejected forgeries are compared with `GET /health` of the same server, and must leave
every byte of the database as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks import servers, slow_sync, webhook_load
from benchmarks.bursts import (
    SECONDS,
    Burst,
    LostWritesError,
    Target,
    alternate,
    items_in,
    parser,
    print_comparison,
    print_head,
)
from benchmarks.http_writes import THREADS
from benchmarks.load import get, load
from benchmarks.peers.webhooks_by_hand import Inbox
from benchmarks.servers import Server
from benchmarks.webhook_load import CONNECTIONS
from benchmarks.writes import DURABILITIES, new_folders, prepare

OURS, BY_HAND = "ours", "by hand"
FORGERIES = "rejected forgeries"
_FACTORIES = {OURS: "benchmarks.webhook_app:create_app", BY_HAND: "benchmarks.peers.webhooks_by_hand:create_app"}
#: Counts the handled events of a side.
_EVENTS = {OURS: "SELECT count(*) FROM _webhooks WHERE state = 'done'", BY_HAND: "SELECT count(*) FROM events"}
#: The rate that rejected forgeries should reach, relative to GET /health.
_REJECTED = Target(0.8)
#: Seconds after the first response until all workers have started.
_WARM_UP = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: The deliveries of this line.
        delay: Seconds by which each sync is slowed down.
        duplicates: The fraction of the deliveries that are duplicates.
        target: The rate that this package should reach, relative to Flask by hand.
    """

    name: str
    delay: float
    duplicates: float
    target: Target


LINES = (
    Line("deliveries, this disk", 0, 0.0, Target(1.5)),
    Line("deliveries, a tenth duplicates, this disk", 0, 0.1, Target(1.5)),
    Line("deliveries, syncs of 1 ms", 0.001, 0.0, Target(1.5)),
)


class WrittenError(Exception):
    """A forgery has changed the database."""


class WebhookServer(Server):
    """A server of the webhook, as one side of a comparison.

    Args:
        name: "ours" or "by hand".
        folder: The folder of its database.
        durability: The durability, which sets SQLite's `synchronous`.
        environment: Its environment variables.
        duplicates: The fraction of the deliveries that are duplicates.
    """

    def __init__(
        self, name: str, folder: Path, durability: str, environment: Mapping[str, str], duplicates: float = 0.0
    ) -> None:
        self.database = _prepare(name, folder, durability)
        command = servers.gunicorn(f"{_FACTORIES[name]}({str(folder)!r}, {durability!r})", THREADS)
        super().__init__(name, command, folder, {**environment, "STRIPE_WEBHOOK_SECRET": webhook_load.SECRET})
        self._stream = webhook_load.Stream(duplicates)
        self._errors = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self.repeat(webhook_load.Stream().forgery(), _WARM_UP, 400)  # gunicorn listens before its workers run
        return self

    def run(self, seconds: float) -> Burst:
        """Send deliveries for some seconds."""
        duplicated = self._stream.duplicated
        burst = load(self.port, self._stream.requests(seconds), CONNECTIONS, seconds, status=200)
        burst.acknowledged -= self._stream.duplicated - duplicated  # duplicates must not be in the database
        self._errors += burst.errors.total()
        return burst

    def repeat(self, request: bytes, seconds: float, status: int) -> Burst:
        """Send one request again and again, which must get this status and store nothing."""
        burst = load(self.port, itertools.repeat(request), CONNECTIONS, seconds, status=status)
        burst.acknowledged = 0  # none may be in the database
        return burst

    def stored(self) -> int:
        """Return the number of rows that the handler has inserted."""
        return items_in(self.database)

    def check_once(self) -> None:
        """Check that each event was handled exactly once, or at most once if its request failed.

        Raises:
            LostWritesError: An event was handled more than once, or was lost.
        """
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            rows, different = connection.execute("SELECT count(*), count(DISTINCT name) FROM items").fetchone()
            (events,) = connection.execute(_EVENTS[self.name]).fetchone()
        sent = self._stream.events
        if not rows == different == events or rows > sent or (rows < sent and not self._errors):
            raise LostWritesError(
                f"{self.name}: of {sent} events {events} are recorded as done, and there are {rows} rows of "
                f"{different} different events"
            )


class Health:
    """`GET /health`, as one side of a comparison. It stores nothing.

    Args:
        server: The server to send it to.
    """

    name = "GET /health"

    def __init__(self, server: WebhookServer) -> None:
        self._server = server

    def run(self, seconds: float) -> Burst:
        """Send it for some seconds."""
        return self._server.repeat(get("/health"), seconds, 200)

    def stored(self) -> int:
        """Return 0."""
        return 0


class Forgeries(Health):
    """Forgeries, as one side of a comparison. They are new for each burst, so that their signature is checked."""

    name = OURS

    def run(self, seconds: float) -> Burst:
        """Send them for some seconds."""
        return self._server.repeat(webhook_load.Stream().forgery(), seconds, 400)


class Reading(Health):
    """The same requests to a view that only reads them: the part of a forgery's cost that is not verification."""

    name = "POST, only read"

    def run(self, seconds: float) -> Burst:
        """Send them for some seconds."""
        return self._server.repeat(webhook_load.Stream().forgery("/read"), seconds, 400)


def print_lines(
    durabilities: Sequence[str] = DURABILITIES, only: str = "", rounds: int = 3, seconds: float = SECONDS
) -> None:
    """Measure and print all lines, or those whose name contains `only`."""
    print_head(f"Webhooks, {CONNECTIONS} connections ({slow_sync.describe_syncs()})")
    for durability, line in itertools.product(durabilities, LINES):
        if only in line.name:
            _print_line(line, durability, rounds, seconds)
    if only in FORGERIES:
        _print_forgeries(rounds, seconds)


def _print_line(line: Line, durability: str, rounds: int, seconds: float) -> None:
    environment = slow_sync.environment_or_note(line.name, line.delay)
    if environment is None:
        return
    with new_folders(OURS, BY_HAND) as folders, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(WebhookServer(name, folder, durability, environment, line.duplicates))
            for name, folder in zip((OURS, BY_HAND), folders, strict=True)
        ]
        measured = alternate(sides, rounds, seconds)
        for side in sides:
            side.check_once()
    print_comparison(line.name, durability, measured, [line.target if durability == "full" else Target()])


def _print_forgeries(rounds: int, seconds: float) -> None:
    with new_folders(OURS) as [folder], WebhookServer(OURS, folder, "full", slow_sync.environment(0)) as server:
        sides = [Forgeries(server), Health(server), Reading(server)]
        with _unchanged(server.database):
            measured = alternate(sides, rounds, seconds)
    print_comparison(FORGERIES, "full", measured, [_REJECTED, Target()])


@contextlib.contextmanager
def _unchanged(database: Path) -> Iterator[None]:
    """Check that a database is not written to inside of the with statement.

    Raises:
        WrittenError: The database has changed.
    """
    before = _state(database)
    yield
    if _state(database) != before:
        raise WrittenError(f"Forgeries have changed {database.name}: {before} became {_state(database)}")


def _state(database: Path) -> list[tuple[str, int, int, str]]:
    """Return name, size, time of the last change and digest of the database file and its log.

    The index of the log (`-shm`) is left out, because readers acquire locks in it too.
    """
    files = [database, database.with_name(f"{database.name}-wal")]
    return [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files
        if file.exists()
    ]


def _prepare(name: str, folder: Path, durability: str) -> Path:
    """Create the tables of a side and return its database file."""
    if name == OURS:
        return prepare(OURS, folder, durability)
    Inbox(folder / "items.db", durability).make_tables()
    return folder / "items.db"


def main() -> None:
    """Print the table."""
    given = parser("Webhooks over HTTP.").parse_args()
    print_lines(given.durability or DURABILITIES, given.only, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
