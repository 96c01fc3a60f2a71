"""`POST /api/items` against Flask with `sqlite3` by hand, and against Fastify: `python -m benchmarks.http_writes`.

The load is 64 connections on two workers. A slower disk is this disk with each sync delayed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers, slow_sync
from benchmarks.bursts import SECONDS, Target, alternate, parser, print_comparison, print_head
from benchmarks.servers import ItemsServer, PeerMissingError
from benchmarks.writes import DURABILITIES, new_folders, prepare

#: Threads of a worker, as in `make serve`.
THREADS = 32
BY_HAND = "by hand"
#: The number of its processes: two as the other sides have, or one, which never waits for another to write.
FASTIFY = {"fastify, 2 processes": 2, "fastify, 1 process": 1}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: The work.
        delay: Seconds by which each sync is delayed.
        target: The target against Flask by hand.
        fastify: The target against Fastify, or None to leave it out.
    """

    name: str
    delay: float
    target: Target
    fastify: Target | None = None


LINES = (
    Line("POST /api/items, this disk", 0, Target(1.8, p99=0.1)),
    Line("POST /api/items, syncs of 1 ms", 0.001, Target(5), fastify=Target(3)),
    Line("POST /api/items, syncs of 4 ms", 0.004, Target(8)),
)


def print_lines(
    durabilities: Sequence[str] = DURABILITIES,
    only: str = "",
    rounds: int = 3,
    seconds: float = SECONDS,
    threads: Sequence[int] = (THREADS,),
) -> None:
    """Measure and print all lines, or those whose names contain a text."""
    print_head(f"Durable writes over HTTP, {servers.CONNECTIONS} connections ({slow_sync.describe_syncs()})")
    for durability, line, count in itertools.product(durabilities, LINES, threads):
        if only in line.name:
            _print_line(line, durability, rounds, seconds, count)


def _print_line(line: Line, durability: str, rounds: int, seconds: float, threads: int) -> None:
    work = f"{line.name}, {servers.WORKERS} x {threads} threads"
    environment = slow_sync.environment_or_note(work, line.delay)
    if environment is None:
        return
    targets = _targets(line) if durability == "full" else {BY_HAND: Target()}
    names = ("ours", *targets)
    with new_folders(*names) as folders, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(_server(name, folder, durability, threads, environment))
            for name, folder in zip(names, folders, strict=True)
        ]
        measured = alternate(sides, rounds, seconds)
    print_comparison(work, durability, measured, list(targets.values()))


def _targets(line: Line) -> dict[str, Target]:
    """Return the peers with their targets."""
    targets = {BY_HAND: line.target}
    if line.fastify is None:
        return targets
    try:
        servers.install_fastify()
    except PeerMissingError as error:
        print(f"  {line.name}: without Fastify, {error}")
        return targets
    return targets | dict.fromkeys(FASTIFY, line.fastify)


def _server(name: str, folder: Path, durability: str, threads: int, environment: Mapping[str, str]) -> ItemsServer:
    database = prepare(name, folder, durability)
    if name in FASTIFY:
        command = servers.fastify(database, durability, FASTIFY[name])
    else:
        factory = "benchmarks.peers.by_hand:create_app" if name == BY_HAND else "benchmarks.items:create_app"
        command = servers.gunicorn(f"{factory}({str(folder)!r}, {durability!r})", threads)
    return ItemsServer(name, command, database, environment)


def main() -> None:
    """Print the table."""
    options = parser("Durable writes over HTTP.")
    options.add_argument("--threads", type=int, action="append", help="threads of a worker; may be given several times")
    given = options.parse_args()
    print_lines(given.durability or DURABILITIES, given.only, given.rounds, given.seconds, given.threads or (THREADS,))


if __name__ == "__main__":
    main()
