"""A worker of gunicorn in this process: one connection, whose requests are served in turn.

The processor time of a thread does not depend on what else the machine does, and the best of many short rounds hardly
depends on other programs' use of its caches. A whole server cannot be measured like this.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Self

from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from flask_convex_http.gunicorn import keepalive, threads
from flask_convex_http.gunicorn.arrival import awaited_bytes
from flask_convex_http.gunicorn.idle import IdleConnections
from flask_convex_http.gunicorn.kept_settings import keep_settings
from flask_convex_http.gunicorn.sockets import TimedSocket
from flask_convex_http.gunicorn.worker import Worker, _init

_ANSWER = 64 * 1024


class WorkerInProcess:
    """Serves an app over one connection, with all that the package's worker does for a request.

    Args:
        app: The app, or another WSGI application.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        config = Config()
        for name, value in {"threads": threads, "keepalive": keepalive, "loglevel": "warning"}.items():
            config.set(name, value)
        keep_settings(config)
        self._worker: Any = Worker(1, os.getppid(), [], app, 30, config, Logger(config))
        self._worker.wsgi, self._worker.max_keepalived = app, threads
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._worker._idle = IdleConnections()
        self._stack.callback(self._worker._idle.close)
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._client = self._stack.enter_context(socket.create_connection(listener.getsockname()))
        served, address = listener.accept()
        self._connection = TConn(self._worker.cfg, served, address, listener.getsockname())
        self._connection.sock = self._stack.enter_context(TimedSocket.take_over(served, 30))
        self._connection.init = functools.partial(_init, self._connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, request: bytes) -> tuple[float, bytes]:
        """Serve one request, and return the processor time in seconds and the response."""
        connection = self._connection
        self._client.sendall(request)
        began = time.thread_time_ns()
        assert awaited_bytes(connection) is None
        connection.sock.start_request()
        connection.data_ready = True
        assert self._worker.handle(connection)
        seconds = (time.thread_time_ns() - began) / 1e9
        return seconds, self._client.recv(_ANSWER)

    def mean(self, request: bytes, number: int) -> float:
        """Return the mean processor time of a request, in seconds."""
        return sum(self.send(request)[0] for _ in range(number)) / number
