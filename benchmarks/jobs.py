"""Scheduled functions: throughput of a worker, cost of scheduling, and delay: `python -m benchmarks.jobs`.

One worker process drains due jobs that durably insert one row each, against huey with its SQLite storage. A slower disk
is this disk with each sync delayed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import scheduling, slow_sync
from benchmarks.bursts import LostWritesError
from benchmarks.harness import print_table
from benchmarks.job_worker import Ours
from benchmarks.peers.huey_jobs import Queue
from benchmarks.writes import new_folders
from flask_convex_http.backend import Backend

#: The lowest ratio to huey's rate.
TARGET = 2.0
#: The numbers of huey's threads. On two processors 2 to 8 are the fastest, depending on the disk.
THREADS = (1, 4, 8)
JOBS = 2000
_WARM_UP = 300
#: Seconds between two checks of a worker's progress, and after which it counts as stuck.
_LOOK = 0.002
_PATIENCE = 120.0
#: Seconds after which an idle worker sleeps again.
_IDLE = 0.05
#: The number of measurements of a delay.
_TIMES = 40


LINES = (slow_sync.Line("jobs drained, this disk", 0), slow_sync.Line("jobs drained, syncs of 1 ms", 0.001))


class StuckError(Exception):
    """A worker does not finish."""


class JobProcess:
    """A process with jobs, as a side of a comparison.

    Args:
        name: Its name in the table.
        kind: "ours" or "huey".
        folder: The folder of its databases.
        threads: The number of threads. This package has one for mutations.
        environment: The environment of the process.
    """

    def __init__(self, name: str, kind: str, folder: Path, threads: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self.database = _prepare(kind, folder)
        command = [sys.executable, "-m", "benchmarks.job_worker", kind, str(folder), str(threads)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> JobProcess:
        self._answer()  # ready
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def start(self) -> None:
        """Start to run jobs."""
        self._tell("start")

    def stop(self) -> None:
        """Stop, and wait for the end."""
        self._tell("stop")

    def drain(self, count: int) -> float:
        """Run a number of jobs, and return the rate per second.

        Raises:
            LostWritesError: A job did not run exactly once.
            StuckError: The jobs do not finish.
        """
        self._tell(f"fill {count}")
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            wanted = _rows(connection) + count
            began = time.monotonic()
            self.start()
            while _rows(connection) < wanted:
                if time.monotonic() - began > _PATIENCE:
                    raise StuckError(f"{self.name} has not run {count} jobs within {_PATIENCE:g} s")
                time.sleep(_LOOK)
            rate = count / (time.monotonic() - began)
            self.stop()
            (stored,) = connection.execute("SELECT count(*) FROM items").fetchone()
        if stored != wanted:
            raise LostWritesError(f"{self.name} should have stored {wanted} rows and stored {stored}")
        return rate

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise RuntimeError(f"The process of {self.name} died; its own words are above")


def print_lines(only: str = "", rounds: int = 3, jobs: int = JOBS, threads: Sequence[int] = THREADS) -> None:
    """Measure and print all lines, or those whose names contain a text."""
    print(f"Jobs of one worker process, durable ({slow_sync.describe_syncs()})")
    for line in LINES:
        if only in line.name:
            _print_line(line, rounds, jobs, threads)
    if only in "scheduling":
        print_table("Scheduling", scheduling.measure())
    if only in "delay":
        _print_delays()


# --- jobs a second ---------------------------------------------------------------------------------------------------


def _print_line(line: slow_sync.Line, rounds: int, jobs: int, threads: Sequence[int]) -> None:
    environment = slow_sync.environment_or_note(line.name, line.delay)
    if environment is None:
        return
    kinds = {"ours": ("ours", 1)} | {f"huey, {_threads(count)}": ("huey", count) for count in threads}
    with new_folders(*(name.replace(",", "") for name in kinds)) as folders, contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(JobProcess(name, kind, folder, count, environment))
            for (name, (kind, count)), folder in zip(kinds.items(), folders, strict=True)
        ]
        rates = _alternate(sides, rounds, jobs)
    _print_rates(line.name, rates)


def _alternate(sides: Sequence[JobProcess], rounds: int, jobs: int) -> dict[str, list[float]]:
    """Let each side drain in turns, and return the rates by side and round."""
    for side in sides:
        side.drain(_WARM_UP)
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            rates[side.name].append(side.drain(jobs))
    return rates


def _print_rates(work: str, rates: Mapping[str, Sequence[float]]) -> None:
    ours = rates["ours"]
    print(f"  {work:<30} {'ours':<16} {statistics.median(ours):>8,.0f} a second", flush=True)
    for name, theirs in rates.items():
        if theirs is ours:
            continue
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        missed = "" if ratio >= TARGET else "  MISSED"
        print(
            f"  {'':<30} {name:<16} {statistics.median(theirs):>8,.0f} a second  "
            f"{ratio:>6.2f}x, at least {TARGET:g}x{missed}",
            flush=True,
        )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _prepare(kind: str, folder: Path) -> Path:
    """Create the tables, and return the file into which the jobs insert their rows."""
    if kind != "ours":
        Queue(folder, 1).make_table()
        return folder / "items.db"
    with contextlib.closing(scheduling.open_backend(folder)) as backend:
        backend.migrate()
    return folder / "convex.db"


def _rows(connection: sqlite3.Connection) -> int:
    """Return the number of rows without counting them, since none is ever deleted."""
    (found,) = connection.execute("SELECT max(_rowid_) FROM items").fetchone()
    return int(found or 0)


# --- how soon --------------------------------------------------------------------------------------------------------


def _print_delays() -> None:
    print("From the answer of the mutation that schedules to the start of what it scheduled, the worker being idle")
    with new_folders("here") as (folder,):
        _prepare("ours", folder)
        here = Ours(folder)
        with contextlib.closing(here.backend):
            _print_delay("worker in the same process", here.backend, here)
    with (
        new_folders("elsewhere") as (folder,),
        JobProcess("ours", "ours", folder, 1, os.environ) as elsewhere,
        contextlib.closing(scheduling.open_backend(folder)) as backend,
    ):
        _print_delay("worker in another process", backend, elsewhere)


def _print_delay(name: str, backend: Backend, worker: Ours | JobProcess) -> None:
    worker.start()
    try:
        delays = [_delay(backend, before) for before in range(_TIMES)]
    finally:
        worker.stop()
    print(f"  {name:<30} {statistics.median(delays) * 1e3:.2f} ms, at most {max(delays) * 1e3:.2f} ms", flush=True)


def _delay(backend: Backend, before: int) -> float:
    """Return the seconds until a job starts. It is negative if the worker is faster than the caller's result."""
    time.sleep(_IDLE)
    ctx = backend.ctx()
    ctx.run_mutation(scheduling.schedule_start)
    answered = time.monotonic()
    while len(starts := ctx.run_query(scheduling.starts)) == before:
        if time.monotonic() - answered > _PATIENCE:
            raise StuckError(f"What was scheduled has not begun within {_PATIENCE:g} s")
        time.sleep(_LOOK)
    return starts[-1] - answered


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description="Scheduled functions: how many, at what cost, how soon.")
    options.add_argument("--only", default="", metavar="TEXT", help="only what has this in its name")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--jobs", type=int, default=JOBS, help="how many a side runs in a round")
    options.add_argument("--threads", type=int, action="append", help="threads of huey's; may be given several times")
    given = options.parse_args()
    print_lines(given.only, given.rounds, given.jobs, given.threads or THREADS)


if __name__ == "__main__":
    main()
