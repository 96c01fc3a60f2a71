"""`POST /api/items` with the commit log, against the same without: `python -m benchmarks.history`.

The load is 64 connections on two workers. A slower disk is this disk with each sync delayed.
"""

from __future__ import annotations

import contextlib

from benchmarks import servers, slow_sync
from benchmarks.bursts import SECONDS, Target, alternate, parser, print_comparison, print_head
from benchmarks.http_writes import THREADS
from benchmarks.servers import ItemsServer
from benchmarks.writes import new_folders, prepare

TARGET = Target(0.93)


LINES = (slow_sync.Line("POST /api/items, this disk", 0), slow_sync.Line("POST /api/items, syncs of 1 ms", 0.001))


def print_line(line: slow_sync.Line, rounds: int, seconds: float) -> None:
    """Measure and print one line."""
    environment = slow_sync.environment_or_note(line.name, line.delay)
    if environment is None:
        return
    with new_folders("with", "without") as folders, contextlib.ExitStack() as stack:
        sides = []
        for name, history, folder in zip(("with", "without"), ("7d", "off"), folders, strict=True):
            database = prepare("ours", folder, "full")
            command = servers.gunicorn(f"benchmarks.items:create_app({str(folder)!r}, 'full')", THREADS)
            settings = {**environment, "CONVEX_HISTORY": history}
            sides.append(stack.enter_context(ItemsServer(name, command, database, settings)))
        measured = alternate(sides, rounds, seconds)
    print_comparison(line.name, "full", measured, [TARGET])


def print_lines(only: str = "", rounds: int = 3, seconds: float = SECONDS) -> None:
    """Measure and print all lines, or those whose names contain a text."""
    print_head(f"Durable writes with the commit log, {servers.CONNECTIONS} connections ({slow_sync.describe_syncs()})")
    for line in LINES:
        if only in line.name:
            print_line(line, rounds, seconds)


def main() -> None:
    """Print the table."""
    given = parser("The commit log over HTTP.").parse_args()
    print_lines(given.only, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
