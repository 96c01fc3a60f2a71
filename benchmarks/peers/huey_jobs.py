"""The same jobs on huey with its SQLite storage, in its fastest durable configuration.

No results are stored, nothing is compressed, and threads work in one process. Each task writes to the application's own
database by hand. It does not import flask_convex_http.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huey import SqliteHuey  # type: ignore[import-untyped]

from benchmarks.peers.sqlite_items import Items

_ENQUEUE = "INSERT INTO task (queue, data, priority) VALUES (?, ?, 0)"


class Queue:
    """A queue of huey, and the database that its tasks write to.

    Args:
        folder: The folder of both.
        threads: The number of threads.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        self._threads = threads
        self._items = Items(folder / "items.db", "full")
        # in a separate database, since its threads and the tasks would wait for each other in one
        self._huey = SqliteHuey("jobs", filename=str(folder / "huey.db"), fsync=True, results=False)
        self._task = self._huey.task(name="create")(self._items.create)
        self._consumer: Any = None

    def make_table(self) -> None:
        """Create the table of the application."""
        self._items.make_table()

    def fill(self, count: int, name: str, description: str) -> None:
        """Enqueue tasks in one transaction, whose cost is not measured."""
        tasks = (self._huey.serialize_task(self._task.s(name, description)) for _ in range(count))
        with self._huey.storage.db(commit=True) as cursor:
            cursor.executemany(_ENQUEUE, ((self._huey.name, task) for task in tasks))

    def start(self) -> None:
        """Start to work."""
        self._consumer = self._huey.create_consumer(workers=self._threads, periodic=False)
        self._consumer.start()

    def stop(self) -> None:
        """Stop, and wait for the end."""
        self._consumer.stop(graceful=True)
