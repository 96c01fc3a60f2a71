"""Connections that wait for their next request."""

import math
import select
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flask_convex_http.gunicorn.idle import IdleConnections
from flask_convex_http.gunicorn.sockets import TimedSocket


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[Any, socket.socket]]:
    """Yield a connection of a worker and the client's end of it."""
    own, client = socket.socketpair()
    connection = SimpleNamespace(sock=TimedSocket.take_over(own, 30), timeout=10.0)
    with connection.sock, client:
        yield connection, client


class EagerPoll:
    """A poller whose event another thread has served when `register` returns, as may happen between any two steps."""

    def __init__(self, idle: IdleConnections, connection: Any) -> None:
        self._epoll = select.epoll()
        self.idle, self.connection = idle, connection

    def register(self, number: int, events: int) -> None:
        """Register a socket, and serve its event at once."""
        self._epoll.register(number, events)
        assert list(self.idle.ready()) == [self.connection]
        self.idle.add(self.connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


class FullPoll:
    """A poller of a full worker, whose event loop looks for connections to close while a thread arms one."""

    def __init__(self, idle: IdleConnections) -> None:
        self._epoll = select.epoll()
        self.idle = idle

    def register(self, number: int, events: int) -> None:
        """Register a socket."""
        assert self.idle.expired(math.inf) == []
        self._epoll.register(number, events)

    def modify(self, number: int, events: int) -> None:
        """Arm a socket."""
        assert self.idle.expired(math.inf) == []
        self._epoll.modify(number, events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


def test_each_request_is_reported_once(pair: tuple[Any, socket.socket]) -> None:
    """A connection is reported when bytes arrive, and not again before it has been added again."""
    connection, client = pair
    idle = IdleConnections()
    idle.add(connection)
    assert list(idle.ready()) == []
    client.sendall(b"a")
    assert list(idle.ready()) == [connection]
    assert list(idle.ready()) == []
    idle.add(connection)
    assert (list(idle.ready()), len(idle)) == ([connection], 0)
    idle.close()


def test_a_closed_socket_is_released(pair: tuple[Any, socket.socket]) -> None:
    """A response that failed has closed the socket of a connection before the worker releases it."""
    connection, client = pair
    idle = IdleConnections()
    idle.add(connection)
    client.sendall(b"a")
    assert list(idle.ready()) == [connection]
    connection.sock.close()
    idle.forget(connection.sock)
    idle.close()


def test_another_thread_may_serve_a_connection_before_it_was_added_wholly(pair: tuple[Any, socket.socket]) -> None:
    """The next request may arrive, be served and be followed by another one while a thread still adds a connection."""
    connection, client = pair
    idle = IdleConnections()
    idle._poll.close()
    idle._poll = EagerPoll(idle, connection)  # type: ignore[assignment]
    client.sendall(b"a")
    idle.add(connection)
    assert list(idle.ready()) == [connection]
    idle.close()


def test_connections_expire(pair: tuple[Any, socket.socket]) -> None:
    """A connection whose time is over is removed."""
    connection, _ = pair
    idle = IdleConnections()
    idle.add(connection)
    assert idle.expired(9.0) == []
    assert (idle.expired(10.0), len(idle)) == ([connection], 0)
    idle.close()


def test_a_connection_that_is_being_added_does_not_expire(pair: tuple[Any, socket.socket]) -> None:
    """A full worker closes no connection that a thread has not added wholly. Its descriptor might be another's then."""
    connection, _ = pair
    idle = IdleConnections()
    idle._poll.close()
    idle._poll = FullPoll(idle)  # type: ignore[assignment]
    for _ in range(2):  # it is registered, and then armed again
        idle.add(connection)
        assert idle.expired(math.inf) == [connection]
    idle.close()
