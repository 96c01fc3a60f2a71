"""Settings for gunicorn: `gunicorn -c python:flask_convex_http.gunicorn 'shop:create_app()'`.

What is given on the command line comes first: `--workers 4`. Nothing of gunicorn is imported; it reads these names.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

#: Threads wait for the disk and for slow clients without holding up others. Not gevent: SQLite's calls would block it.
worker_class = "gthread"
#: One for each of two processors; and one goes on when the other dies. More do not write faster.
workers = 2
#: Writes that wait at the same time share one wait for the disk: with syncs of 4 ms 32 threads answer half as many
#: requests again as 8. On a fast disk they cost nothing, because of what `post_fork` does.
threads = 32
#: Workers touch a file as a sign of life: in memory, so that a busy disk does not stop them.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: Newer versions of gunicorn open one in the home folder; older ones ignore this.
control_socket_disable = True


def pre_fork(server: Any, worker: Any) -> None:
    """Choose a processor for a new worker: the one with the fewest so far."""
    if not hasattr(os, "sched_getaffinity") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return  # not Linux, or a Python whose threads do run at the same time
    taken = Counter(getattr(other, "convex_processor", None) for other in server.WORKERS.values())
    worker.convex_processor = min(sorted(os.sched_getaffinity(0)), key=lambda processor: taken[processor])


def post_fork(server: Any, worker: Any) -> None:
    """Keep a worker on its processor.

    Only one thread of a Python process runs at a time. Where they may change processors, each turn is handed from one
    to the other, which costs more than the turn itself: Flask apps of all kinds answer a third more requests like this.
    """
    processor = getattr(worker, "convex_processor", None)
    if processor is not None:
        os.sched_setaffinity(0, {processor})


def post_worker_init(worker: Any) -> None:
    """Start the app's background worker at once: what is due should not wait for the first request."""
    background = getattr(worker.wsgi, "extensions", {}).get("convex_http_worker")
    if background is not None:
        background.ensure()
