"""`flask convex worker`: run jobs and crons in a process of its own."""

from __future__ import annotations

import queue
import signal
import threading

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.options import WholeNumber
from flask_convex_http.cli.output import json_option, note, print_json
from flask_convex_http.log import configure_process
from flask_convex_http.runtime.time_limit import end_stuck_process
from flask_convex_http.web.state import current_backend
from flask_convex_http.worker import Worker

#: Seconds in which the worker returns running actions to the queue after a second signal.
_LAST_SECONDS = 5.0


@click.command()
@click.option(
    "--grace",
    type=WholeNumber(0, 86_400),
    default=30,
    show_default=True,
    help="Seconds that running actions have to end after the first signal.",
)
@json_option
@with_appcontext
def worker(grace: int, as_json: bool) -> None:
    """Run jobs and crons until a signal stops the worker.

    Processes that serve the app have a worker of their own, unless CONVEX_WORKER is "off". Any number of workers may
    run on one database. SIGTERM or Ctrl-C stops a worker. It starts no more jobs and waits for running actions. An
    action that does not end in time is retried if it may be, and otherwise fails. A second signal ends the wait. With
    --json the command prints the signal at its end.

    \b
    Examples:
      flask convex worker
      flask convex worker --grace 5
    """
    configure_process()
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # threads need the app itself
    backend = current_backend()
    backend.check_migrated()
    end_stuck_process()
    running = Worker(backend, app_context=app.app_context, grace=grace)
    stopped_by = _run_until_signal(running, grace)
    if as_json:
        print_json({"stopped_by": signal.Signals(stopped_by).name})


def _run_until_signal(running: Worker, grace: int) -> int:
    """Run a worker until a signal comes, and return the number of the signal.

    The worker runs on a thread, so that a signal interrupts neither a transaction nor a line of the log.
    """
    signals: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_run, args=(running, signals), name="convex-worker", daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: signals.put(number))
    thread.start()
    note("The worker runs; Ctrl-C stops it.")
    first = signals.get()
    if first is None:
        raise click.ClickException("The worker has ended by itself; the log has the error")
    running.stop()
    note(f"Stopping: running actions have {grace} s to end. Ctrl-C again stops them at once.")
    if signals.get() is not None:
        running.stop()
        thread.join(_LAST_SECONDS)
    note("Stopped.")
    return first


def _run(running: Worker, signals: queue.SimpleQueue[int | None]) -> None:
    try:
        running.run()
    finally:
        signals.put(None)
