"""Webhooks over HTTP against Flask with Stripe's library and `sqlite3` by hand: `python -m benchmarks.webhooks`.

A delivery is verified, looked for, recorded with its body and done with one row of effects, in one durable commit; each
is of an event of its own, but for copies where a line has some. Two workers, 32 connections. Afterwards there must be
as many rows of effects as events, neither fewer nor more. Forgeries are refused next to `GET /health` of the same
server, and must leave the database as it was, to the byte.
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
FORGERIES = "refused forgeries"
_FACTORIES = {OURS: "benchmarks.webhook_app:create_app", BY_HAND: "benchmarks.peers.webhooks_by_hand:create_app"}
#: Where a side has the events it has dealt with.
_EVENTS = {OURS: "SELECT count(*) FROM _webhooks WHERE state = 'done'", BY_HAND: "SELECT count(*) FROM events"}
#: What refused forgeries should reach next to GET /health.
_REFUSED = Target(0.8)
#: Seconds from the first answer on that are for all workers to start.
_WARM_UP = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: What is delivered.
        delay: Seconds each sync takes longer.
        copies: Which part of the deliveries are copies.
        target: What ours should reach next to Flask by hand.
    """

    name: str
    delay: float
    copies: float
    target: Target


LINES = (
    Line("deliveries, this disk", 0, 0.0, Target(1.5)),
    Line("deliveries, a tenth copies, this disk", 0, 0.1, Target(1.5)),
    Line("deliveries, syncs of 1 ms", 0.001, 0.0, Target(1.5)),
)


class WrittenError(Exception):
    """Forgeries have changed the database."""


class WebhookServer(Server):
    """A server of the webhook, as a side of a comparison.

    Args:
        name: "ours" or "by hand".
        folder: Where its database is.
        durability: What SQLite's `synchronous` is set to.
        environment: Its environment.
        copies: Which part of the deliveries are copies.
    """

    def __init__(
        self, name: str, folder: Path, durability: str, environment: Mapping[str, str], copies: float = 0.0
    ) -> None:
        self.database = _prepare(name, folder, durability)
        command = servers.gunicorn(f"{_FACTORIES[name]}({str(folder)!r}, {durability!r})", THREADS)
        super().__init__(name, command, folder, {**environment, "STRIPE_WEBHOOK_SECRET": webhook_load.SECRET})
        self._stream = webhook_load.Stream(copies)
        self._errors = 0

    def __enter__(self) -> Self:
        super().__enter__()
        self.repeat(webhook_load.Stream().forgery(), _WARM_UP, 400)  # it listens before its workers are there
        return self

    def run(self, seconds: float) -> Burst:
        """Take deliveries for some seconds."""
        copied = self._stream.copied
        burst = load(self.port, self._stream.requests(seconds), CONNECTIONS, seconds, status=200)
        burst.acknowledged -= self._stream.copied - copied  # they must not be in the database
        self._errors += burst.errors.total()
        return burst

    def repeat(self, request: bytes, seconds: float, status: int) -> Burst:
        """Take one request over and over, which must be answered with a status and leave nothing."""
        burst = load(self.port, itertools.repeat(request), CONNECTIONS, seconds, status=status)
        burst.acknowledged = 0  # none is to be in the database
        return burst

    def stored(self) -> int:
        """How many rows of effects there are."""
        return items_in(self.database)

    def check_once(self) -> None:
        """Look for the effects of each event: once; where requests failed, once or not at all.

        Raises:
            LostWritesError: There are others.
        """
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            rows, different = connection.execute("SELECT count(*), count(DISTINCT name) FROM items").fetchone()
            (events,) = connection.execute(_EVENTS[self.name]).fetchone()
        sent = self._stream.events
        if not rows == different == events or rows > sent or (rows < sent and not self._errors):
            raise LostWritesError(
                f"{self.name}: of {sent} events {events} are recorded as done, with {rows} rows of effects, of which "
                f"{different} are of different events"
            )


class Health:
    """`GET /health`, as a side of a comparison; nothing of it is in the database.

    Args:
        server: Who answers.
    """

    name = "GET /health"

    def __init__(self, server: WebhookServer) -> None:
        self._server = server

    def run(self, seconds: float) -> Burst:
        """Answer it for some seconds."""
        return self._server.repeat(get("/health"), seconds, 200)

    def stored(self) -> int:
        """Nothing."""
        return 0


class Forgeries(Health):
    """The same for forgeries. They are made for each burst: nobody looks at the signature of an old one."""

    name = OURS

    def run(self, seconds: float) -> Burst:
        """Refuse them for some seconds."""
        return self._server.repeat(webhook_load.Stream().forgery(), seconds, 400)


class Reading(Health):
    """The same requests to a view that reads and refuses them unseen: what of a forgery's cost is not verifying."""

    name = "POST, only read"

    def run(self, seconds: float) -> Burst:
        """Refuse them for some seconds."""
        return self._server.repeat(webhook_load.Stream().forgery("/read"), seconds, 400)


def print_lines(
    durabilities: Sequence[str] = DURABILITIES, only: str = "", rounds: int = 3, seconds: float = SECONDS
) -> None:
    """Measure and print all lines, or those with a text in their names."""
    print_head(f"Webhooks, {CONNECTIONS} connections ({slow_sync.said()})")
    for durability, line in itertools.product(durabilities, LINES):
        if only in line.name:
            _print_line(line, durability, rounds, seconds)
    if only in FORGERIES:
        _print_forgeries(rounds, seconds)


def _print_line(line: Line, durability: str, rounds: int, seconds: float) -> None:
    try:
        environment = slow_sync.environment(line.delay)
    except slow_sync.NoCompilerError as error:
        print(f"  {line.name}: left out, {error}")
        return
    with new_folders(OURS, BY_HAND) as folders, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(WebhookServer(name, folder, durability, environment, line.copies))
            for name, folder in zip((OURS, BY_HAND), folders, strict=True)
        ]
        measured = alternate(sides, rounds, seconds)
        for side in sides:
            side.check_once()
    print_comparison(line.name, durability, measured, [line.target if durability == "full" else Target()])


def _print_forgeries(rounds: int, seconds: float) -> None:
    with new_folders(OURS) as [folder], WebhookServer(OURS, folder, "full", slow_sync.environment(0)) as server:
        sides = [Forgeries(server), Health(server), Reading(server)]
        with _untouched(server.database):
            measured = alternate(sides, rounds, seconds)
    print_comparison(FORGERIES, "full", measured, [_REFUSED, Target()])


@contextlib.contextmanager
def _untouched(database: Path) -> Iterator[None]:
    """A while in which nobody may write to a database.

    Raises:
        WrittenError: Somebody has.
    """
    before = _state(database)
    yield
    if _state(database) != before:
        raise WrittenError(f"Forgeries have changed {database.name}: {before} became {_state(database)}")


def _state(database: Path) -> list[tuple[str, int, int, str]]:
    """Name, size, time of the last change, and digest of the database and its log.

    The index of the log (`-shm`) is left out: it is the processes' shared memory, in which readers too take locks.
    """
    files = [database, database.with_name(f"{database.name}-wal")]
    return [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files
        if file.exists()
    ]


def _prepare(name: str, folder: Path, durability: str) -> Path:
    """Make the tables of a side."""
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
