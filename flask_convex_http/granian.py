"""Serve an app with granian: `python -m flask_convex_http.granian 'shop:create_app()' --workers 2`.

This is granian's own command with the settings of this module, which its options and `GRANIAN_` variables override. The
app is given as to `flask --app`. Each worker process loads it, stays on one processor, starts the app's background
worker, and stops that before it ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from flask.cli import ScriptInfo

from flask_convex_http import collector
from flask_convex_http.log import show_unless_configured
from flask_convex_http.runtime.time_limit import end_stuck_process

#: The settings, by the names of granian's options.
SETTINGS: dict[str, Any] = {
    "interface": "wsgi",
    "http": "1",
    "workers": 2,
    # Writes that wait at the same time share one sync. Other threads than these never run the app.
    "blocking_threads": 32,
    # Requests of one worker that are accepted. More wait in the kernel, instead of in memory.
    "backpressure": 256,
    # Milliseconds. A client that sends its head slowly holds no thread of the app meanwhile.
    "http1_header_read_timeout": 10_000,
    # granian's default ends the server with the first worker that dies.
    "respawn_failed_workers": True,
    # Seconds for requests and actions that run when the server stops, longer than the background worker takes.
    "workers_kill_timeout": 45,
}
#: Hands the app over to the worker processes, which may be new interpreters.
_APP = "_CONVEX_HTTP_GRANIAN_APP"


def main() -> None:
    """Run granian's command.

    Raises:
        SystemExit: granian is not installed.
    """
    try:
        from granian.cli import cli
    except ImportError as error:
        sys.exit(f"granian cannot be imported ({error}); run pip install 'granian>=2.8.9'")

    with cli.make_context("granian", sys.argv[1:], default_map=SETTINGS, auto_envvar_prefix="GRANIAN") as context:
        os.environ[_APP] = context.params["app"]
        context.params |= {"app": f"{__spec__.name if __spec__ else __name__}:load", "factory": True}
        cli.invoke(context)


def load() -> Any:
    """Load the app in a worker process, and start its background worker. granian calls this."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # granian's own come later, and those of its main process do nothing here
    _stay_on_one_processor()
    app = ScriptInfo(app_import_path=os.environ[_APP]).load_app()
    show_unless_configured()
    end_stuck_process()
    background = app.extensions.get("convex_http_worker")
    if background is not None:
        background.ensure()
        # A forked process of multiprocessing runs no functions of atexit before Python 3.13.
        Finalize(None, background.stop, exitpriority=10)
    collector.settle()
    return app


# --- processors ------------------------------------------------------------------------------------------------------


def _stay_on_one_processor() -> None:
    """Keep this process on a processor, as `flask_convex_http.gunicorn` does."""
    if not hasattr(os, "sched_getaffinity") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return  # not Linux, or a Python whose threads run in parallel
    older = [processors for worker in _older_workers() if (processors := _processors_of(worker))]
    os.sched_setaffinity(0, {choose(sorted(os.sched_getaffinity(0)), older)})


def choose(processors: Sequence[int], older: Sequence[set[int]]) -> int:
    """Return the processor for a new worker: one with the fewest workers.

    Where several have as few, it is that of the oldest worker. granian starts a new worker before it stops an old one,
    and replaces the oldest first.

    Args:
        processors: The processors that the worker may use.
        older: The processors of the workers that were started before, the oldest first. One that has not chosen yet
            will choose by this rule.
    """
    used = dict.fromkeys(processors, 0)
    for own in older:
        processor = next(iter(own)) if len(own) == 1 else _least(used)
        used[processor] = used.pop(processor, 0) + 1
    return _least(used)


def _least(used: dict[int, int]) -> int:
    return min(used, key=lambda processor: used[processor])


def _older_workers() -> list[int]:
    """Return the other workers of granian's main process that were started before this one, the oldest first."""
    tasks = Path(f"/proc/{os.getppid()}/task").glob("*/children")
    try:
        children = [int(child) for task in tasks for child in task.read_text().split()]
        return children[: children.index(os.getpid())]
    except (OSError, ValueError):  # the kernel does not tell
        return []


def _processors_of(process: int) -> set[int]:
    try:
        return os.sched_getaffinity(process)
    except OSError:  # it has ended
        return set()


if __name__ == "__main__":
    main()
