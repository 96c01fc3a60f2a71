"""Processes that work on one database and are killed: some schedule things, others run them.

Run as a program it is a warm interpreter that forks them in milliseconds, as that of the crash tests does.
"""

import fcntl
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flask_convex_http import ActionCtx, Document, MutationCtx, Retry, Schema, internal_action, internal_mutation
from flask_convex_http.backend import Backend, Functions
from flask_convex_http.worker.worker import Worker
from tests.crash import nursery
from tests.crash.workers import TASKS
from tests.databases import settings_in

#: Seconds. Long enough that nobody is taken for dead for having got no processor for a while.
LEASE = 2.0
#: How many links a chain has.
LINKS = 6
#: Where actions write what outlives them.
_FOLDER = "SHIFTS_FOLDER"


class Counter(Document, table="counters"):
    total: int


class Effect(Document, table="effects", indexes={"by_key": ["key"]}):
    """What a scheduled function did."""

    key: str


class Order(Document, table="orders", indexes={"by_number": ["number"]}):
    """A number for which everything was scheduled."""

    number: int


SCHEMA = Schema(Counter, Effect, Order)


@internal_mutation
def order(ctx: MutationCtx) -> None:
    """Schedule one of each kind for the next number."""
    last = ctx.db.query(Order).with_index("by_number").order("desc").first()
    number = 0 if last is None else last.number + 1
    ctx.db.insert(Order(number=number))
    ctx.scheduler.run_after(0, do, key=f"now-{number}")
    ctx.scheduler.run_after(random.random(), do, key=f"later-{number}")
    ctx.scheduler.run_after(0, link, chain=number, number=0)
    ctx.scheduler.run_after(0, act, key=f"act-{number}")
    ctx.scheduler.run_after(0, insist, key=f"insist-{number}")


@internal_mutation
def do(ctx: MutationCtx, *, key: str) -> None:
    """Have an effect: a row, and a count that tells of each."""
    ctx.db.insert(Effect(key=key))
    counter = ctx.db.query(Counter).first()
    if counter is None:
        ctx.db.insert(Counter(total=1))
    else:
        ctx.db.patch(counter.id, total=counter.total + 1)


@internal_mutation
def link(ctx: MutationCtx, *, chain: int, number: int) -> None:
    """Have an effect and schedule the next link."""
    ctx.run_mutation(do, key=f"chain-{chain}-{number}")
    if number + 1 < LINKS:
        ctx.scheduler.run_after(random.choice((0, 0.05)), link, chain=chain, number=number + 1)


@internal_action
def act(ctx: ActionCtx, *, key: str) -> None:
    with _noted(ctx, key):
        ctx.run_mutation(do, key=key)


@internal_action(retry=Retry(max_attempts=100, backoff=0))
def insist(ctx: ActionCtx, *, key: str) -> None:
    with _noted(ctx, key):
        ctx.run_mutation(do, key=key)


@contextmanager
def _noted(ctx: ActionCtx, key: str) -> Iterator[None]:
    """Note that an attempt begins, and whether another one is going on: what it holds ends with its process."""
    folder = Path(os.environ[_FOLDER])
    with (folder / f"{key}.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _note(folder, f"overlap {key} {ctx.attempt} {ctx.idempotency_token}")
        _note(folder, f"start {key} {ctx.attempt} {ctx.idempotency_token}")
        time.sleep(random.random() * 0.1)
        yield


def _note(folder: Path, line: str) -> None:
    descriptor = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


FUNCTIONS: Functions = (order, do, link, act, insist)


def open_shop(folder: Path) -> Backend:
    """The database in a folder; opens nothing yet."""
    settings = settings_in(folder, worker_lease=LEASE, worker_actions=16)
    return Backend(settings, SCHEMA, FUNCTIONS, folder=folder)


# --- processes -------------------------------------------------------------------------------------------------------


def run(*, folder: str) -> None:
    """Run what is scheduled, until killed."""
    with closing(open_shop(Path(folder))) as backend:
        Worker(backend).run()


def place_orders(*, folder: str) -> None:
    """Schedule again and again, until killed."""
    with closing(open_shop(Path(folder))) as backend:
        while True:
            backend.ctx().run_mutation(order)
            time.sleep(0.04)


class Shifts(nursery.Nursery):
    """Starts such processes.

    Args:
        folder: Where actions write what outlives them.
    """

    def __init__(self, folder: Path) -> None:
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=nursery.ROOT,
                env=os.environ | {"PYTHONPATH": str(nursery.ROOT), _FOLDER: str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )


def main() -> None:
    """Fork a child for each order."""
    from tests.worker import shifts  # not as __main__: functions are known by the name of their module

    TASKS["run"], TASKS["place_orders"] = shifts.run, shifts.place_orders
    nursery.main()


if __name__ == "__main__":
    main()
