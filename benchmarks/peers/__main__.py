"""This package against PocketBase and frameworks with SQLite by hand: `python -m benchmarks.peers`.

Each server has the same 10,000 items, and the same load comes from 64 connections. The servers work in turns, in
several rounds, so that other load on the machine slows all of them.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence

from benchmarks import servers, slow_sync
from benchmarks.bursts import alternate
from benchmarks.peers.sides import OURS, SIDES, Contender, OursWithPython, Ready, Side
from benchmarks.peers.table import print_work
from benchmarks.peers.work import WORKS, Work
from benchmarks.servers import PeerMissingError, Server
from benchmarks.slow_sync import NoCompilerError
from benchmarks.writes import new_folders

Started = tuple[Side, Ready, Server]


def compare(delay: float, works: Sequence[Work], sides: Sequence[Side], rounds: int, seconds: float) -> None:
    """Measure and print each kind of work on one disk.

    Args:
        delay: Seconds by which each sync is delayed.
        works: The kinds of work.
        sides: The servers, of which the first is compared with each.
        rounds: The number of rounds.
        seconds: The duration of a server's turn.
    """
    disk = f"syncs delayed by {delay * 1e3:g} ms" if delay else "this disk"
    with _started(sides, delay) as started:
        for work in works:
            contenders = [Contender(side.name, ready, server, work) for side, ready, server in started]
            measured = alternate(contenders, rounds, seconds)
            pairs = zip([side for side, _, _ in started], measured, strict=True)
            print_work(f"{work.name}, {disk}", list(pairs))


@contextlib.contextmanager
def _started(sides: Sequence[Side], delay: float) -> Iterator[list[Started]]:
    with new_folders(*(side.name for side in sides)) as folders, contextlib.ExitStack() as stack:
        started: list[Started] = []
        for side, folder in zip(sides, folders, strict=True):
            try:
                ready = side.prepare(folder, delay)
            except (PeerMissingError, NoCompilerError) as error:
                print(f"{side.name} is left out: {error}\n")
                continue
            server = Server(side.name, ready.command, folder, ready.environment)
            started.append((side, ready, stack.enter_context(server)))
        yield started


def main() -> None:
    """Print the tables."""
    given = _options().parse_args()
    works = [work for work in WORKS if given.work in work.name]
    sides = [side for side in SIDES if side is OURS or any(text in side.name for text in given.server or [""])]
    sides[1:1] = [OursWithPython.of(python) for python in given.python or ()]
    turns = f"{given.rounds} rounds of {given.seconds:g} s"
    print(f"{servers.CONNECTIONS} connections, {turns}, {slow_sync.describe_syncs()}\n")
    for delay in given.delay or (0, 1, 4):
        # a read waits for no sync
        chosen = [work for work in works if work.writes or not delay]
        if chosen:
            compare(delay / 1e3, chosen, sides, given.rounds, given.seconds)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Compare servers over HTTP.")
    options.add_argument(
        "--delay", type=float, action="append", metavar="MS", help="delay each sync; 0, 1 and 4 without"
    )
    options.add_argument("--work", default="", metavar="TEXT", help="only the work whose name has this in it")
    options.add_argument("--server", action="append", metavar="TEXT", help="only the peers whose name has this in it")
    options.add_argument(
        "--python", action="append", metavar="PATH", help="compare also with this Python, which has the package"
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=4.0, help="the duration of a server's turn in a round")
    return options


if __name__ == "__main__":
    main()
