"""Settings for gunicorn: `gunicorn -c python:flask_convex_http.gunicorn 'shop:create_app()'`.

Options on the command line come first: `--workers 4`. gunicorn reads the names of this module, which imports nothing of
gunicorn.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from flask_convex_http import collector as _collector  # not for `import *`
from flask_convex_http import log as _log

#: Threads wait for the disk, and do not block each other. SQLite's calls would block gevent. This one is gunicorn's
#: gthread, with limits on the time that a request takes to arrive.
worker_class: str | type = "flask_convex_http.gunicorn.worker.Worker"
#: One for each of two processors. One serves while the other restarts. More workers do not write faster.
workers = 2
#: Writes that wait at the same time share one sync. With syncs of 4 ms, 32 threads serve 1.5 times the requests of 8
#: threads. On a fast disk they cost nothing, because `post_fork` keeps each worker on its processor.
threads = 32
#: Longer than a proxy keeps its idle connections (nginx: 60 seconds), so that it sends no request over one that is
#: being closed. An idle connection holds no thread, and is closed when a worker has no room for others.
keepalive = 75
#: Workers touch a file as a heartbeat. It is in memory, so that a busy disk does not delay it.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: Newer versions of gunicorn open a control socket in the home folder. Older versions ignore this setting.
control_socket_disable = True


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the processor with the fewest workers for a new worker."""
    if not hasattr(os, "sched_getaffinity") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return  # not Linux, or a Python whose threads run in parallel
    used = Counter(getattr(other, "convex_processor", None) for other in server.WORKERS.values())
    worker.convex_processor = min(sorted(os.sched_getaffinity(0)), key=lambda processor: used[processor])


def post_fork(server: Any, worker: Any) -> None:
    """Keep a worker on its processor.

    Only one thread of a Python process runs at a time. If the threads run on several processors, the interpreter's lock
    moves between processors at each switch, which costs more than the work in between. Measured with Flask apps of
    several kinds: a third more requests per second with one processor for each worker.
    """
    processor = getattr(worker, "convex_processor", None)
    if processor is not None:
        os.sched_setaffinity(0, {processor})


def post_worker_init(worker: Any) -> None:
    """Start the app's background worker, so that due jobs do not wait for the first request.

    Unless the app has configured logging, the package's lines go where gunicorn's go, with the same time and level.
    With CONVEX_LOG=json they are JSON, on stderr. Garbage is collected less often (`collector`).
    """
    if _log.is_styled():
        _log.show_unless_configured()
    elif _log.is_unconfigured():
        own = worker.log.error_log
        for handler in own.handlers:
            _log.show(handler, own.level)
    background = getattr(worker.wsgi, "extensions", {}).get("convex_http_worker")
    if background is not None:
        background.ensure()
    _collector.settle()
