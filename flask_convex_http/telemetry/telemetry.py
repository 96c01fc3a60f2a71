"""`Telemetry`: passes the events of one deployment to its subscribers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from flask_convex_http.log import logger_of
from flask_convex_http.telemetry.events import Event
from flask_convex_http.telemetry.scope import Scope, ScopeKind, current_scope, set_current

logger = logger_of()

OnEvent = Callable[[Event], None]
OnScope = Callable[[Scope], None]


class Telemetry:
    """The events of one deployment. Thread-safe once all have subscribed.

    A place that publishes tests `is_on` first. What runs has a scope from `enter` to `leave`.

    Attributes:
        is_on: Whether anything subscribes.
    """

    __slots__ = ("__weakref__", "_on_event", "_on_leave", "_on_start", "_reported", "is_on")

    def __init__(self) -> None:
        self.is_on = False
        self._on_event: tuple[OnEvent, ...] = ()
        self._on_start: tuple[OnScope, ...] = ()
        self._on_leave: tuple[OnScope, ...] = ()
        self._reported: set[type[Exception]] = set()

    def subscribe(self, on_event: OnEvent, on_start: OnScope | None = None, on_leave: OnScope | None = None) -> None:
        """Add a subscriber, before the deployment is used.

        A subscriber is called in the thread that publishes, often inside of a transaction: it returns within
        microseconds, and never waits.

        Args:
            on_event: Called with each event, after the scope of the event has been left.
            on_start: Called with each scope that is entered, when it is already the current one.
            on_leave: Called with each scope that is left, while it is still the current one. Its event may come later.
        """
        self._on_event += (on_event,)
        if on_start is not None:
            self._on_start += (on_start,)
        if on_leave is not None:
            self._on_leave += (on_leave,)
        self.is_on = True

    def enter(
        self,
        kind: ScopeKind,
        name: str,
        request_id: str | None = None,
        *,
        carrier: Mapping[str, Any] | None = None,
        subject: str | None = None,
        function: str | None = None,
    ) -> Scope:
        """Make a new scope the current one, inside of the one that was.

        Args:
            kind: What runs.
            name: Its name; see `Scope`.
            request_id: The id of its request; None for that of the scope around it.
            carrier: The holder of the context of a trace; see `Scope`.
            subject: The id of a job, or the sender's id of a delivery.
            function: The name of the function or handler that runs.
        """
        parent = current_scope()
        if request_id is None and parent is not None:
            request_id = parent.request_id
        now, began = time.time(), time.perf_counter()
        scope = Scope(self, kind, name, parent, request_id, now, began, carrier, subject, function)
        set_current(scope)
        for on_start in self._on_start:
            self._call(on_start, scope)
        return scope

    def leave(self, scope: Scope) -> float:
        """Make the scope around a scope the current one again, and return the seconds since it was entered."""
        for on_leave in self._on_leave:
            self._call(on_leave, scope)
        set_current(scope.parent)
        scope.carrier = None  # a subscriber may keep the scope for a while, but not the request
        return time.perf_counter() - scope.began

    def publish(self, event: Event) -> None:
        """Pass an event to the subscribers. Raise no exception."""
        for on_event in self._on_event:
            self._call(on_event, event)

    def _call(self, subscriber: Callable[[Any], None], value: Event | Scope) -> None:
        try:
            subscriber(value)
        except Exception as error:  # nobody's request fails because it is observed
            if type(error) not in self._reported:
                self._reported.add(type(error))
                logger.exception("What observes this deployment has failed; each kind of failure is logged once")
