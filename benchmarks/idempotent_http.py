"""A POST with an idempotency key against the same POST without one, over HTTP: `python -m benchmarks.idempotent_http`.

The app is that of `benchmarks.idempotent`. Two workers of gunicorn, 32 connections. Afterwards there must be an order
for each response.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import servers, slow_sync
from benchmarks.bursts import SECONDS, Burst, Target, alternate, parser, print_comparison, print_head
from benchmarks.http_writes import THREADS
from benchmarks.idempotent import BODY, PATH, app_of
from benchmarks.load import load
from benchmarks.servers import Server
from benchmarks.writes import DURABILITIES, new_folders

CONNECTIONS = 32
WITH_KEY, WITHOUT = "new keys", "no key"
TARGET = Target(0.8)
#: Seconds by which each sync is slowed down, by the names of the lines.
LINES = {"POST, this disk": 0.0, "POST, syncs of 1 ms": 0.001}


class OrdersServer(Server):
    """A server of the app, as one side of a comparison.

    Args:
        name: Whether requests have a key.
        folder: The folder of its database.
        durability: The durability.
        delay: Seconds by which each sync is slowed down.
    """

    def __init__(self, name: str, folder: Path, durability: str, delay: float) -> None:
        app_of(str(folder), durability).extensions["convex_http"].close()  # creates the tables
        command = servers.gunicorn(f"benchmarks.idempotent:app_of({str(folder)!r}, {durability!r})", THREADS)
        super().__init__(name, command, folder, slow_sync.environment(delay))
        self._database = folder / "convex.db"
        self._requests = _requests() if name == WITH_KEY else itertools.repeat(_request(""))

    def run(self, seconds: float) -> Burst:
        """Send orders for some seconds."""
        return load(self.port, self._requests, CONNECTIONS, seconds, status=201)

    def stored(self) -> int:
        """Return the number of orders."""
        with contextlib.closing(sqlite3.connect(self._database)) as connection:
            (orders,) = connection.execute("SELECT count(*) FROM orders").fetchone()
        return int(orders)


def print_lines(
    durabilities: Sequence[str] = DURABILITIES, only: str = "", rounds: int = 3, seconds: float = SECONDS
) -> None:
    """Measure and print all lines, or those whose name contains `only`."""
    print_head(f"Idempotent requests, {CONNECTIONS} connections ({slow_sync.describe_syncs()})")
    for durability, (line, delay) in itertools.product(durabilities, LINES.items()):
        if only in line:
            _print_line(line, delay, durability, rounds, seconds)


def _print_line(line: str, delay: float, durability: str, rounds: int, seconds: float) -> None:
    with new_folders(WITH_KEY, WITHOUT) as folders, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(OrdersServer(name, folder, durability, delay))
            for name, folder in zip((WITH_KEY, WITHOUT), folders, strict=True)
        ]
        measured = alternate(sides, rounds, seconds)
    print_comparison(line, durability, measured, [TARGET if durability == "full" else Target()])


def _requests() -> Iterator[bytes]:
    for number in itertools.count():
        yield _request(f"Idempotency-Key: 8e03978e-40d5-43dd-bc93-{number:012}\r\n")


def _request(header: str) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


if __name__ == "__main__":
    given = parser("Idempotent requests over HTTP.").parse_args()
    print_lines(given.durability or DURABILITIES, given.only, given.rounds, given.seconds)
