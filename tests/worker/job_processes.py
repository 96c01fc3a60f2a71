"""Processes that schedule and run jobs on one database, and are killed.

Run as a program this module is a warm interpreter that forks them in milliseconds, like that of the crash tests.
"""

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flask_convex_http import ActionCtx, Document, MutationCtx, Retry, Schema, internal_action, internal_mutation
from flask_convex_http.backend import Backend, Functions
from flask_convex_http.worker import Worker
from tests.child_processes import child_environment
from tests.crash import nursery
from tests.crash.workers import TASKS
from tests.databases import settings_in

#: Seconds. Long enough that a process that waits for a processor does not lose its lease.
LEASE = 2.0
#: The links of a chain.
LINKS = 6
#: The environment variable with the folder where actions write notes that outlive them.
_FOLDER = "JOB_PROCESSES_FOLDER"


class Counter(Document, table="counters"):
    total: int


class Effect(Document, table="effects", indexes={"by_key": ["key"]}):
    """The record that a scheduled function has run."""

    key: str


class Batch(Document, table="batches", indexes={"by_number": ["number"]}):
    """A number for which all jobs were scheduled."""

    number: int


SCHEMA = Schema(Counter, Effect, Batch)


@internal_mutation
def schedule_batch(ctx: MutationCtx) -> None:
    """Schedule one job of each kind for the next number."""
    last = ctx.db.query(Batch).with_index("by_number").order("desc").first()
    number = 0 if last is None else last.number + 1
    ctx.db.insert(Batch(number=number))
    ctx.scheduler.run_after(0, have_effect, key=f"now-{number}")
    ctx.scheduler.run_after(random.random(), have_effect, key=f"later-{number}")
    ctx.scheduler.run_after(0, link, chain=number, number=0)
    ctx.scheduler.run_after(0, act_once, key=f"act_once-{number}")
    ctx.scheduler.run_after(0, act_with_retry, key=f"act_with_retry-{number}")


@internal_mutation
def have_effect(ctx: MutationCtx, *, key: str) -> None:
    """Have an effect: a row, and a counter that counts the rows."""
    ctx.db.insert(Effect(key=key))
    counter = ctx.db.query(Counter).first()
    if counter is None:
        ctx.db.insert(Counter(total=1))
    else:
        ctx.db.patch(counter.id, total=counter.total + 1)


@internal_mutation
def link(ctx: MutationCtx, *, chain: int, number: int) -> None:
    """Have an effect, and schedule the next link of a chain."""
    ctx.run_mutation(have_effect, key=f"chain-{chain}-{number}")
    if number + 1 < LINKS:
        ctx.scheduler.run_after(random.choice((0, 0.05)), link, chain=chain, number=number + 1)


@internal_action
def act_once(ctx: ActionCtx, *, key: str) -> None:
    """Have an effect from an action that runs at most once."""
    with _noted_attempt(ctx, key):
        ctx.run_mutation(have_effect, key=key)


@internal_action(retry=Retry(max_attempts=100, backoff=0))
def act_with_retry(ctx: ActionCtx, *, key: str) -> None:
    """Have an effect from an action that is retried."""
    with _noted_attempt(ctx, key):
        ctx.run_mutation(have_effect, key=key)


@contextmanager
def _noted_attempt(ctx: ActionCtx, key: str) -> Iterator[None]:
    """Note the start of an attempt, and whether another attempt is running.

    The lock that it holds ends with its process.
    """
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


FUNCTIONS: Functions = (schedule_batch, have_effect, link, act_once, act_with_retry)


def open_backend(folder: Path) -> Backend:
    """Return the backend of the database in a folder, without opening the database."""
    settings = settings_in(folder, worker_lease=LEASE, worker_actions=16)
    return Backend(settings, SCHEMA, FUNCTIONS, folder=folder)


# --- processes -------------------------------------------------------------------------------------------------------


def run(*, folder: str) -> None:
    """Run jobs until the process is killed."""
    with closing(open_backend(Path(folder))) as backend:
        Worker(backend).run()


def schedule_batches(*, folder: str) -> None:
    """Schedule jobs until the process is killed."""
    with closing(open_backend(Path(folder))) as backend:
        while True:
            backend.ctx().run_mutation(schedule_batch)
            time.sleep(0.04)


class JobProcesses(nursery.Nursery):
    """Starts these processes.

    Args:
        folder: Where actions write notes that outlive them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(__name__, environment=child_environment() | {_FOLDER: str(folder)}, log=folder / "log")


def main() -> None:
    """Fork a child for each command."""
    from tests.worker import job_processes  # not as __main__: functions have the name of their module

    TASKS["run"], TASKS["schedule_batches"] = job_processes.run, job_processes.schedule_batches
    nursery.main()


if __name__ == "__main__":
    main()
