"""An app with functions to schedule, for the tests of `scheduled`, `crons` and `worker`.

`flask --app tests.cli.errands:create_app` is the same app in a process of its own, in the folder ERRANDS_FOLDER.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    Crons,
    Document,
    Id,
    MutationCtx,
    QueryCtx,
    Retry,
    ScheduledFunction,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend, system_clock
from flask_convex_http.testing import Clock
from tests.cli.conftest import Outcome
from tests.databases import folder_config

#: Seconds that an action waits for its file. No test needs a tenth of it.
_TIMEOUT = 60.0


class Errand(Document, table="errands"):
    text: str


@internal_mutation
def note(ctx: MutationCtx, *, text: str) -> None:
    """Store a text."""
    ctx.db.insert(Errand(text=text))


@internal_query
def all_notes(ctx: QueryCtx) -> list[Errand]:
    """Return all stored texts."""
    return ctx.db.query(Errand).collect()


@internal_mutation
def need(ctx: MutationCtx, *, text: str) -> None:
    """Fail unless a text is stored."""
    if all(errand.text != text for errand in ctx.db.query(Errand).collect()):
        raise LookupError(f"Nobody has noted {text}")


@internal_mutation
def remind(ctx: MutationCtx) -> None:
    """Schedule the same function again."""
    ctx.scheduler.run_after(0, remind)


@internal_action
def wait(ctx: ActionCtx, *, folder: str) -> None:
    """Create a file at the start, and wait for another one. Runs at most once."""
    _wait(ctx, Path(folder))


@internal_action(retry=Retry(max_attempts=3, backoff=0))
def wait_again(ctx: ActionCtx, *, folder: str) -> None:
    """Do the same as `wait`, with retries."""
    _wait(ctx, Path(folder))


def _wait(ctx: ActionCtx, folder: Path) -> None:
    (folder / f"started-{ctx.attempt}").touch()
    end = time.monotonic() + _TIMEOUT
    while not (folder / "go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    ctx.run_mutation(note, text=f"attempt {ctx.attempt}")


def make_app(folder: Path, *, crons: Crons | None = None, clock: Clock | None = None, **config: object) -> Flask:
    """Return the app with its databases in a folder."""
    app = Flask("errands", instance_path=str(folder))
    app.config.from_mapping({"TESTING": True, **folder_config(folder), **config})
    functions = (note, all_notes, need, remind, wait, wait_again)
    ConvexHTTP(app, schema=Schema(Errand), functions=functions, crons=crons, clock=clock or system_clock)
    return app


def create_app() -> Flask:
    """Return the app for a process of its own."""
    return make_app(Path(os.environ["ERRANDS_FOLDER"]))


def create_app_with_a_cron() -> Flask:
    """Return the app with a cron that ticks when a worker registers it."""
    crons = Crons()
    crons.interval("sweep", 3600, note, text="swept")
    return make_app(Path(os.environ["ERRANDS_FOLDER"]), crons=crons)


@dataclass(frozen=True)
class Errands:
    """The app, its backend, and its command line in this process."""

    app: Flask
    backend: Backend

    def convex(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run `flask convex ...`."""
        result = self.app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    def schedule(self, name: str, delay: float = 0, **arguments: object) -> Id[ScheduledFunction]:
        """Schedule a function by its name."""
        return self.backend.ctx().scheduler.run_after(delay, f"errands:{name}", **arguments)

    def row(self, job_id: str) -> ScheduledFunction:
        """Return the current row of a job."""
        with self.backend.engine.snapshot() as snapshot:
            job = self.backend.jobs.get(snapshot, job_id)
        assert job is not None
        return job

    def notes(self) -> list[str]:
        """Return the stored texts in order."""
        return [errand.text for errand in self.backend.ctx().run_query(all_notes)]


@contextmanager
def errands(
    folder: Path, *, crons: Crons | None = None, clock: Clock | None = None, **config: object
) -> Iterator[Errands]:
    """Open the app on a migrated database, for a `with` statement."""
    app = make_app(folder, crons=crons, clock=clock, **config)
    backend: Backend = app.extensions["convex_http"]
    try:
        backend.migrate()
        yield Errands(app, backend)
    finally:
        backend.close()
