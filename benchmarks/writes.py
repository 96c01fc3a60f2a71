"""Durable writes through `ctx.run_mutation` against `sqlite3` by hand: `python -m benchmarks.writes`.

Threads of real processes insert one document of about 300 bytes each in its own transaction, as fast as they can. A
slower disk is this disk with each sync delayed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks import items, slow_sync
from benchmarks.bursts import SECONDS, Burst, Target, alternate, items_in, parser, print_comparison, print_head
from benchmarks.peers import sqlite_items

DURABILITIES = ("full", "normal")
#: Seconds between the command to the processes and their start.
_NOTICE = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: The work.
        processes: The number of processes.
        threads: The number of writers in each.
        delay: Seconds by which each sync is delayed.
        target: The targets.
    """

    name: str
    processes: int
    threads: int
    delay: float
    target: Target


LINES = (
    Line("engine, 8 threads, this disk", 1, 8, 0, Target(2.5)),
    Line("engine, 8 threads, syncs of 1 ms", 1, 8, 0.001, Target(7)),
    Line("engine, 64 threads, syncs of 1 ms", 1, 64, 0.001, Target(25, longest=0.1)),
    Line("engine, 2 processes x 4 threads, syncs of 4 ms", 2, 4, 0.004, Target(3.5, longest=0.3)),
    Line("engine, a lone writer, this disk", 1, 1, 0, Target(0.95)),
    Line("engine, a lone writer, syncs of 1 ms", 1, 1, 0.001, Target(0.95)),
)


class Writers:
    """Processes of writers on one database, as a side of a comparison.

    Args:
        name: "ours" or "by hand".
        folder: The folder of the database.
        durability: "full" or "normal".
        line: The number of writers.
        environment: The environment of the processes.
    """

    def __init__(self, name: str, folder: Path, durability: str, line: Line, environment: Mapping[str, str]) -> None:
        self.name = name
        self.database = prepare(name, folder, durability)
        arguments = [name, str(folder), durability, str(line.threads)]
        command = [sys.executable, "-m", "benchmarks.write_worker", *arguments]
        start = functools.partial(
            subprocess.Popen, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._processes: list[subprocess.Popen[str]] = [start([*command, str(n)]) for n in range(line.processes)]

    def __enter__(self) -> Writers:
        for process in self._processes:
            _answer(process)  # ready
        return self

    def run(self, seconds: float) -> Burst:
        """Let all of them write for some seconds."""
        start = time.monotonic() + _NOTICE
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{start} {seconds}\n")
        burst = Burst(seconds)
        for process in self._processes:
            answer = json.loads(_answer(process))
            burst.add(Burst(**{**answer, "errors": Counter(answer["errors"])}))
        return burst

    def stored(self) -> int:
        """Return the number of items."""
        return items_in(self.database)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.communicate()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError("A process of writers died; its own words are above")
    return answer


def prepare(name: str, folder: Path, durability: str) -> Path:
    """Create the database of this package, or the one by hand, in a folder."""
    if name != "ours":
        sqlite_items.Items(folder / "items.db", durability).make_table()
        return folder / "items.db"
    backend = items.open_backend(folder, durability)
    backend.migrate()
    backend.close()
    return folder / "convex.db"


@contextlib.contextmanager
def new_folders(*names: str) -> Iterator[list[Path]]:
    """Yield a folder for each name, on the disk of the checkout."""
    with tempfile.TemporaryDirectory(dir=slow_sync.cache()) as root:
        folders = [Path(root, name.replace(" ", "-")) for name in names]
        for folder in folders:
            folder.mkdir()
        yield folders


def print_lines(
    durabilities: Sequence[str] = DURABILITIES, only: str = "", rounds: int = 3, seconds: float = SECONDS
) -> None:
    """Measure and print all lines, or those whose names contain a text."""
    print_head(f"Durable writes ({slow_sync.describe_syncs()})")
    for durability, line in itertools.product(durabilities, LINES):
        if only in line.name:
            _print_line(line, durability, rounds, seconds)


def _print_line(line: Line, durability: str, rounds: int, seconds: float) -> None:
    environment = slow_sync.environment_or_note(line.name, line.delay)
    if environment is None:
        return
    sides = ("ours", "by hand")
    with new_folders(*sides) as folders, contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(Writers(name, folder, durability, line, environment))
            for name, folder in zip(sides, folders, strict=True)
        ]
        measured = alternate(writers, rounds, seconds)
    target = line.target if durability == "full" else Target()
    print_comparison(line.name, durability, measured, [target])


def main() -> None:
    """Print the table."""
    options = parser("Durable writes through the engine.").parse_args()
    print_lines(options.durability or DURABILITIES, options.only, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
