"""The settings of the package, with long times for clients of a worker that stops and for connections left open."""

from gunicorn.workers import gthread  # type: ignore[import-untyped]

from flask_convex_http.gunicorn import *  # noqa: F403
from flask_convex_http.gunicorn import worker

# Long enough for a client on a busy machine, and not as long as gunicorn waits for a worker.
gthread.STOP_KEEPALIVE_LINGER = 20.0
worker._LINGER = 3.0


class Lingering(worker.Worker):
    """The package's worker."""


worker_class = Lingering
workers = 1
threads = 4
worker_connections = 8
bind = "127.0.0.1:0"
