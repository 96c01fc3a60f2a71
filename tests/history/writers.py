"""Processes that change documents with several threads each, and are killed.

Run as a program this module is a warm interpreter that forks them in milliseconds, like that of the crash tests.
"""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from flask_convex_http import ConvexError, Document, MutationCtx, Schema, internal_mutation, unique
from flask_convex_http.backend import Backend
from tests.crash import nursery
from tests.crash.workers import TASKS
from tests.databases import settings_in

#: The threads of a process that write, and the documents that they share.
THREADS, DOCUMENTS = 4, 8


class Account(Document, table="accounts", indexes={"by_name": unique("name")}):
    """A document that counts the commits which have changed it."""

    name: str
    version: int = 1
    text: str = ""


@internal_mutation
def touch(ctx: MutationCtx, *, seed: int) -> None:
    """Insert, change or delete some documents, read the log at times, and fail at times."""
    chance = random.Random(seed)
    for name in chance.sample(range(DOCUMENTS), chance.randint(1, 3)):
        found = ctx.db.query(Account).with_index("by_name", name=str(name)).first()
        if found is None:
            ctx.db.insert(Account(name=str(name)))
        elif chance.random() < 0.1:
            ctx.db.delete(found.id)
        else:
            ctx.db.patch(found.id, version=found.version + 1, text=chance.choice(("", "é", "x" * 300)))
        if found is not None and chance.random() < 0.1:
            ctx.db.history(found.id, limit=3)
    if chance.random() < 0.1:
        raise ConvexError("refused")


def open_backend(folder: Path) -> Backend:
    """Return the backend of the database in a folder, without opening the database."""
    return Backend(settings_in(folder), Schema(Account), [touch], folder=folder)


def write(*, folder: str, seed: int) -> None:
    """Write, and add the commits to the index, until the process is killed."""
    with closing(open_backend(Path(folder))) as backend, ThreadPoolExecutor(THREADS) as pool:
        for thread in range(THREADS):
            pool.submit(_write, backend, seed * THREADS + thread)
        while True:
            backend.history.index()


def _write(backend: Backend, seed: int) -> None:
    for number in itertools.count():
        try:
            backend.ctx().run_mutation(touch, seed=seed * 1_000_000 + number)
        except ConvexError:
            continue


class Writers(nursery.Nursery):
    """Starts these processes.

    Args:
        log: The file for their errors.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(__name__, log=log)


def main() -> None:
    """Fork a child for each order."""
    from tests.history import writers  # not as __main__: functions have the name of their module

    TASKS["write"] = writers.write
    nursery.main()


if __name__ == "__main__":
    main()
