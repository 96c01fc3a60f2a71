"""One process that runs jobs: `python -m benchmarks.job_worker KIND FOLDER THREADS`.

It prints "ready" and reads lines: "fill COUNT" creates due jobs, "start" starts to run them, "stop" stops. It prints
"done" after each.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Protocol

from benchmarks import items, scheduling
from benchmarks.peers.huey_jobs import Queue
from flask_convex_http.worker import Worker

#: The number of jobs that one mutation may schedule.
_AT_ONCE = 1000


class Jobs(Protocol):
    """Jobs, and the worker that runs them."""

    def fill(self, count: int, name: str, description: str) -> None:
        """Create due jobs that insert one row each."""

    def start(self) -> None:
        """Start to run them."""

    def stop(self) -> None:
        """Stop, and wait for the end."""


class Ours:
    """Scheduled mutations and a worker in a thread.

    Args:
        folder: The folder of the database.
    """

    def __init__(self, folder: Path) -> None:
        self.backend = scheduling.open_backend(folder)

    def fill(self, count: int, name: str, description: str) -> None:
        """Schedule mutations for now."""
        ctx = self.backend.ctx()
        for before in range(0, count, _AT_ONCE):
            part = min(_AT_ONCE, count - before)
            ctx.run_mutation(scheduling.schedule_now, count=part, name=name, description=description)

    def start(self) -> None:
        """Start to run them."""
        self._worker = Worker(self.backend)
        self._thread = threading.Thread(target=self._worker.run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for the end."""
        self._worker.stop()
        self._thread.join()


def main(kind: str, folder: str, threads: str) -> None:
    """Follow the lines of standard input."""
    jobs: Jobs = Ours(Path(folder)) if kind == "ours" else Queue(Path(folder), int(threads))
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["fill", count]:
                jobs.fill(int(count), items.NAME, items.DESCRIPTION)
            case ["start"]:
                jobs.start()
            case _:
                jobs.stop()
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
