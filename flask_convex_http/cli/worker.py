"""The worker as a process of its own."""

from __future__ import annotations

import logging
import queue
import signal
import threading

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from flask_convex_http.cli.output import json_option, note, print_json
from flask_convex_http.web.state import current_backend
from flask_convex_http.worker import Worker

#: Seconds that the worker gets to hand back what runs when it is stopped a second time.
_LAST_SECONDS = 5.0


@click.command()
@click.option(
    "--grace",
    type=click.IntRange(min=0, max=86_400),
    default=30,
    show_default=True,
    help="Seconds that running actions get to end when the worker is stopped.",
)
@json_option
@with_appcontext
def worker(grace: int, as_json: bool) -> None:
    """Run what is scheduled, and the crons, until stopped.

    Processes that serve the app do this by themselves, unless CONVEX_WORKER is "off". Any number of workers may run on
    one database. SIGTERM or Ctrl-C stops one: it takes nothing new, lets actions end for a while, and hands those back
    that may be tried again; the others have failed. The second time it waits no longer. With --json it prints at its
    end which signal that was.

    \b
    Examples:
      flask convex worker
      flask convex worker --grace 5
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")  # unless the app has said how
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # of the proxy; threads want the app
    backend = current_backend()
    backend.check_migrated()
    running = Worker(backend, app_context=app.app_context, grace=grace)
    by = _work(running, grace)
    if as_json:
        print_json({"stopped_by": signal.Signals(by).name})


def _work(running: Worker, grace: int) -> int:
    """Run a worker until a signal comes, and answer which.

    It runs on a thread, so that signals interrupt nothing but the waiting here: not a transaction, not a log's line.
    """
    signals: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_run, args=(running, signals), name="convex-worker", daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: signals.put(number))
    thread.start()
    note("Working; Ctrl-C stops it.")
    first = signals.get()
    if first is None:
        raise click.ClickException("The worker has ended by itself; the log says why")
    running.stop()
    note(f"Stopping; actions that run have {grace} s to end. Once more stops them at once.")
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
