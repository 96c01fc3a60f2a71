"""gunicorn's settings of the package with short times, for tests."""

from flask_convex_http.gunicorn import *  # noqa: F403
from flask_convex_http.gunicorn.worker import Worker


class Impatient(Worker):
    """A worker that waits for slow clients for a second."""

    arrival_timeout = 1.0
    read_timeout = 1.0
    stall_timeout = 0.5
    send_timeout = 1


worker_class = Impatient
workers = 1
threads = 4
bind = "127.0.0.1:0"
