"""Requests, which are published in groups where every subscriber takes groups.

An event for each request costs the thread that serves it several microseconds. A group costs less than one: the thread
appends a tuple, and subscribers collect the tuples a few times each second.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from flask_convex_http.telemetry.scope import Scope

#: The paths of the dashboard and the metrics begin with this.
_OPERATORS_PREFIX = "/_convex"
#: Requests of one kind that wait to be collected, before the thread of a request collects them itself.
_MOST = 20_000

#: When a request started, in seconds since the epoch, how many seconds it took, and its id.
Timing = tuple[float, float, str | None]
#: The method, the route, the first three characters of the status line, and whether it is a health check.
_Key = tuple[str, str | None, str, bool]


class RequestScope(Scope):
    """The scope of a request.

    Attributes:
        status: The status line of the response, or None before it has one.
        route: The rule of the route; None if no route matched.
        error: The exception that the response stands for, or None.
        is_health_check: Whether it is a health check, which Flask does not route.
        is_handed_over: Whether the connection has left the server, which then gets an exception and no response.
    """

    status: str | None = None
    route: str | None = None
    error: BaseException | None = None
    is_health_check: bool = False
    is_handed_over: bool = False

    @property
    def is_of_operators(self) -> bool:
        """Whether it is no request of the application's clients: a health check, or one to `/_convex`."""
        return _is_of_operators(self.route, is_health_check=self.is_health_check)


class RequestGroup(NamedTuple):
    """Requests that have ended without an exception, with the same method, route and status.

    Attributes:
        method: The method, `_OTHER` for one that HTTP does not define.
        route: The rule of the route; None if no route matched.
        status: The status of the response.
        is_of_operators: Whether they are no requests of the application's clients.
        timings: Start, duration and id of each, in the order of their ends.
    """

    method: str
    route: str | None
    status: int
    is_of_operators: bool
    timings: list[Timing]


class GroupSubscriber(Protocol):
    """A subscriber that takes requests in groups. Called in any thread, it neither waits nor collects itself."""

    def wake(self) -> None:
        """Learn that requests wait to be collected, which `RequestGroups.collect` does."""

    def take(self, groups: Sequence[RequestGroup]) -> None:
        """Take requests that somebody has collected."""


class RequestGroups:
    """The requests of a process that wait to be collected. Thread-safe.

    Args:
        call: Calls a function of a subscriber, and raises no exception.
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self._subscribers: tuple[GroupSubscriber, ...] = ()
        self._waiting: dict[_Key, list[Timing]] = {}
        self._collecting = threading.Lock()
        self._is_awake = False
        _ALL.add(self)

    def subscribe(self, subscriber: GroupSubscriber) -> None:
        """Add a subscriber, before the deployment is used."""
        self._subscribers += (subscriber,)

    def add(self, scope: RequestScope, seconds: float) -> None:
        """Add a request that has a status and no exception."""
        key = (scope.name, scope.route, scope.status[:3], scope.is_health_check)  # type: ignore[index]  # not None
        try:
            timings = self._waiting[key]
        except KeyError:
            timings = self._waiting.setdefault(key, [])
        timings.append((scope.started, seconds, scope.request_id))
        if not self._is_awake:
            self._wake()
        if len(timings) > _MOST:
            self.collect()

    def collect(self) -> None:
        """Pass the waiting requests to the subscribers."""
        with self._collecting:
            self._is_awake = False  # from now on a request wakes them again
            groups = [_group(key, timings) for key, timings in list(self._waiting.items()) if timings]
            for subscriber in self._subscribers if groups else ():
                self._call(subscriber.take, groups)

    def _wake(self) -> None:
        self._is_awake = True
        for subscriber in self._subscribers:
            self._call(subscriber.wake)

    def start_in_child(self) -> None:
        """Begin without requests in a child of fork()."""
        self._waiting = {}
        self._collecting = threading.Lock()
        self._is_awake = False


def _group(key: _Key, timings: list[Timing]) -> RequestGroup:
    number = len(timings)
    taken = timings[:number]
    del timings[:number]  # others may have been appended behind them
    method, route, status, is_health_check = key
    is_of_operators = _is_of_operators(route, is_health_check=is_health_check)
    return RequestGroup(method, route, status_of(status), is_of_operators, taken)


def status_of(line: str) -> int:
    """Return the status of a status line, 0 for one that is no number."""
    digits = line[:3]
    return int(digits) if digits.isdecimal() else 0


def _is_of_operators(route: str | None, *, is_health_check: bool) -> bool:
    return is_health_check or (route is not None and route.startswith(_OPERATORS_PREFIX))


_ALL: weakref.WeakSet[RequestGroups] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for groups in list(_ALL):
        groups.start_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
