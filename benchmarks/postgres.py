"""An app on PostgreSQL against the same app with psycopg and its pool: `python -m benchmarks.postgres`.

Each side has two workers with ten database connections each, and 32 clients. PostgreSQL has its default settings, so a
commit waits for the disk. The peer comes in two variants: with a transaction per request, as is psycopg's default, and
with autocommit. All sides return the same bytes, which is checked while their round trips to the database are counted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import statistics
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import postgres_app, postgres_server, round_trips, servers, slow_sync, webhook_load
from benchmarks.bursts import SECONDS, Burst, Target, alternate, parser, print_comparison, print_head
from benchmarks.http_writes import THREADS
from benchmarks.load import ask, get, load, post
from benchmarks.peers import postgres_by_hand
from benchmarks.postgres_server import PostgresServer
from benchmarks.servers import Server
from benchmarks.writes import new_folders

OURS, BY_HAND, AUTOCOMMIT = "ours", "by hand", "autocommit by hand"
SIDES = (OURS, BY_HAND, AUTOCOMMIT)
CONNECTIONS = 32
#: How many more round trips than by hand are accepted.
MORE_TRIPS = 2
#: Requests until each connection has prepared each statement, and requests whose round trips are counted then.
_WARM_UP, _COUNTED = 80, 9
#: Fields that differ between the sides: ids and creation times.
_OWN = re.compile(rb'"(_id|_creationTime)":("[^"]*"|[0-9.]+)')


class Traffic:
    """The requests that a side gets. No two deliveries are duplicates."""

    def __init__(self) -> None:
        self._deliveries = webhook_load.Stream()
        ids = random.Random(6).sample(postgres_server.item_ids(), postgres_server.ITEMS)
        self._reads = itertools.cycle([get(f"/api/items/{item_id}") for item_id in ids])
        self._votes = itertools.cycle([post(0, f"/api/items/{item_id}/votes", b"") for item_id in ids])

    def reads(self, seconds: float) -> Iterator[bytes]:
        """Yield reads of one item by its id, a different item each time."""
        return self._reads

    def newest(self, seconds: float) -> Iterator[bytes]:
        """Yield reads of the ten newest items."""
        return itertools.repeat(get("/api/items"))

    def creates(self, seconds: float) -> Iterator[bytes]:
        """Yield requests that create an item."""
        return itertools.repeat(post(0, "/api/items", servers.BODY))

    def votes(self, seconds: float) -> Iterator[bytes]:
        """Yield votes, for a different item each time."""
        return self._votes

    def votes_for_one(self, seconds: float) -> Iterator[bytes]:
        """Yield votes for the same item."""
        return itertools.repeat(post(0, f"/api/items/{postgres_server.item_ids()[0]}/votes", b""))

    def deliveries(self, seconds: float) -> Iterator[bytes]:
        """Yield deliveries of distinct events."""
        return self._deliveries.requests(seconds)


_TARGET = Target(0.85)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: The request.
        requests: Returns requests for a number of seconds.
        stored: The SQL that counts the stored writes; None for reads.
        target: The target of ours against by hand.
    """

    name: str
    requests: Callable[[Traffic, float], Iterator[bytes]]
    stored: str | None = None
    target: Target = _TARGET


_ITEMS, _VOTES = "SELECT count(*) FROM items", "SELECT sum(votes) FROM items"
LINES = (
    Line("GET /api/items/<id>", Traffic.reads),
    Line("GET /api/items, the ten newest", Traffic.newest),
    Line("POST /api/items", Traffic.creates, _ITEMS),
    Line("POST /api/items/<id>/votes, any item", Traffic.votes, _VOTES),
    Line("POST /webhooks/stripe", Traffic.deliveries, _ITEMS),
    Line("POST /api/items/<id>/votes, always the same", Traffic.votes_for_one, _VOTES, Target()),
)


class DifferentResponsesError(Exception):
    """Two sides respond differently to the same request."""


@dataclass(frozen=True, slots=True)
class App:
    """One of the apps, with a database of its own.

    Attributes:
        name: Its name in the table.
        folder: The folder for its files.
        url: Its database.
        traffic: The requests that it gets.
    """

    name: str
    folder: Path
    url: str
    traffic: Traffic

    def serve(self) -> Server:
        """Start the server of the comparison."""
        return self._server(self.url, "on", THREADS, servers.WORKERS)

    def serve_alone(self, url: str) -> Server:
        """Start a server with one thread and no background worker, on another URL of the database."""
        return self._server(url, "off", 1, 1)

    def _server(self, url: str, worker: str, threads: int, workers: int) -> Server:
        if self.name == OURS:
            app = f"benchmarks.postgres_app:create_app({str(self.folder)!r}, {url!r}, {worker!r})"
        else:
            app = f"benchmarks.peers.postgres_by_hand:create_app({url!r}, {self.name == AUTOCOMMIT})"
        environment = {**os.environ, "STRIPE_WEBHOOK_SECRET": webhook_load.SECRET}
        return Server(self.name, servers.gunicorn(app, threads, workers), self.folder, environment)


class LineOfApp:
    """A side of the comparison of one line.

    Args:
        app: The app.
        server: Its server.
        line: The line.
    """

    def __init__(self, app: App, server: Server, line: Line) -> None:
        self.name = app.name
        self._app = app
        self._server = server
        self._line = line
        self._before = self._count()

    def run(self, seconds: float) -> Burst:
        """Send requests for some seconds."""
        burst = load(self._server.port, self._line.requests(self._app.traffic, seconds), CONNECTIONS, seconds)
        if self._line.stored is None:
            burst.acknowledged = 0  # no write has to be in the database
        return burst

    def stored(self) -> int:
        """Return how many writes were stored since the start."""
        return self._count() - self._before

    def _count(self) -> int:
        return postgres_server.number_of(self._app.url, self._line.stored) if self._line.stored else 0


def print_lines(only: str = "", rounds: int = 3, seconds: float = SECONDS) -> None:
    """Measure and print all lines, or only those with a text in their names."""
    lines = [line for line in LINES if only in line.name]
    if not lines:
        return
    with new_folders("server", *SIDES) as [folder, *folders], postgres_server.started(folder) as server:
        print_head(f"PostgreSQL {server.version}, {CONNECTIONS} connections ({slow_sync.describe_syncs()})")
        apps = [_prepared(name, own, server) for name, own in zip(SIDES, folders, strict=True)]
        counted = [_count_trips(app, lines) for app in apps]
        _print_rates(apps, lines, rounds, seconds)
        _print_trips(lines, counted)


def _prepared(name: str, folder: Path, server: PostgresServer) -> App:
    """Create and fill the database of a side."""
    url = server.make_database(re.sub(r"\W+", "_", name))
    if name == OURS:
        postgres_app.make_tables(str(folder), url)
    else:
        postgres_by_hand.make_tables(url)
    postgres_server.fill(url)
    return App(name, folder, url, Traffic())


def _print_rates(apps: Sequence[App], lines: Sequence[Line], rounds: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        started = [(app, stack.enter_context(app.serve())) for app in apps]
        for line in lines:
            measured = alternate([LineOfApp(app, server, line) for app, server in started], rounds, seconds)
            print_comparison(line.name, "full", measured, [line.target, Target()][: len(measured) - 1])


# --- round trips -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trips:
    """The round trips of one app.

    Attributes:
        name: The name of the app.
        numbers: The median number of round trips per request, by the name of the line.
        responses: The responses, without the fields that differ between the sides.
    """

    name: str
    numbers: Mapping[str, float]
    responses: Mapping[str, Sequence[tuple[int, bytes]]]


def _count_trips(app: App, lines: Sequence[Line]) -> Trips:
    numbers, responses = {}, {}
    socket = Path(urllib.parse.parse_qs(urllib.parse.urlsplit(app.url).query)["host"][0])
    url = app.url.replace(str(socket), str(app.folder))
    with round_trips.Counter(socket, app.folder) as counter, app.serve_alone(url) as server:
        for line in lines:
            requests = itertools.islice(line.requests(app.traffic, 0.02), _WARM_UP + _COUNTED)
            numbers[line.name], responses[line.name] = _count(server, counter, requests)
    return Trips(app.name, numbers, responses)


def _count(
    server: Server, counter: round_trips.Counter, requests: Iterator[bytes]
) -> tuple[float, list[tuple[int, bytes]]]:
    trips, responses = [], []
    for request in requests:
        before = counter.trips
        status, body = ask(server.port, request)
        trips.append(counter.trips - before)
        responses.append((status, _OWN.sub(rb'"\1":...', body)))
    return statistics.median(trips[_WARM_UP:]), responses


def _print_trips(lines: Sequence[Line], counted: Sequence[Trips]) -> None:
    """Print the numbers, and a note if ours are too many.

    Raises:
        DifferentResponsesError: The responses differ.
    """
    print("  Round trips to the database for one request")
    first, *others = counted
    for line in lines:
        print(f"  {line.name:<50} " + ", ".join(f"{side.name} {side.numbers[line.name]:g}" for side in counted))
        for other in others:
            _check_same(line, first, other)
    for line in lines:
        if len(counted) > 1 and first.numbers[line.name] > others[0].numbers[line.name] + MORE_TRIPS:
            print(f"    MISSED: more than {MORE_TRIPS} round trips more than {others[0].name}, {line.name}")


def _check_same(line: Line, one: Trips, other: Trips) -> None:
    for ours, theirs in zip(one.responses[line.name], other.responses[line.name], strict=True):
        if ours != theirs:
            raise DifferentResponsesError(f"{line.name}: {one.name} returns {ours}, {other.name} {theirs}")


def main() -> None:
    """Print the table."""
    given = parser("An app on PostgreSQL.").parse_args()
    print_lines(given.only, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
