"""`Telemetry`: passes the events of one deployment to its subscribers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter, time
from typing import Any

from flask_convex_http.log import logger_of
from flask_convex_http.telemetry.events import Event
from flask_convex_http.telemetry.requests import GroupSubscriber, RequestGroups, RequestScope
from flask_convex_http.telemetry.scope import Scope, ScopeKind, get_current, set_current

logger = logger_of()

OnEvent = Callable[[Event], None]
OnScope = Callable[[Scope], None]


class Telemetry:
    """The events of one deployment. Thread-safe once all have subscribed.

    A place that publishes tests `is_on` first. What runs has a scope from `enter` to `leave`.

    Attributes:
        is_on: Whether anything subscribes.
        groups: Takes the requests without an exception; None if a subscriber wants an event for each.
    """

    __slots__ = ("__weakref__", "_on_event", "_on_leave", "_on_start", "_reported", "groups", "is_on")

    def __init__(self) -> None:
        self.is_on = False
        self.groups: RequestGroups | None = RequestGroups(self._call)
        self._on_event: tuple[OnEvent, ...] = ()
        self._on_start: tuple[OnScope, ...] = ()
        self._on_leave: tuple[OnScope, ...] = ()
        self._reported: set[type[Exception]] = set()

    def subscribe(
        self,
        on_event: OnEvent,
        on_start: OnScope | None = None,
        on_leave: OnScope | None = None,
        groups: GroupSubscriber | None = None,
    ) -> None:
        """Add a subscriber, before the deployment is used.

        A subscriber is called in the thread that publishes, often inside of a transaction: it returns within
        microseconds, and never waits.

        Args:
            on_event: Called with each event, after the scope of the event has been left.
            on_start: Called with each scope that is entered, when it is already the current one.
            on_leave: Called with each scope that is left, while it is still the current one. Its event may come later.
            groups: Takes requests without an exception in groups, if every subscriber has this. Otherwise each is an
                event for all of them.
        """
        self._on_event += (on_event,)
        if on_start is not None:
            self._on_start += (on_start,)
        if on_leave is not None:
            self._on_leave += (on_leave,)
        if groups is None:
            self.collect()
            self.groups = None
        elif self.groups is not None:
            self.groups.subscribe(groups)
        self.is_on = True

    def collect(self) -> None:
        """Pass the requests that wait in groups to the subscribers."""
        if self.groups is not None:
            self.groups.collect()

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
        parent = get_current()
        if request_id is None and parent is not None:
            request_id = parent.request_id
        now, began = time(), perf_counter()
        scope = Scope(self, kind, name, parent, request_id, now, began, carrier, subject, function)
        set_current(scope)
        for on_start in self._on_start:
            self._call(on_start, scope)
        return scope

    def enter_request(self, method: str, request_id: str, environ: Mapping[str, Any]) -> RequestScope:
        """Make the scope of a new request the current one; see `enter`."""
        scope = RequestScope(self, "request", method, get_current(), request_id, time(), perf_counter())
        set_current(scope)
        if self._on_start:
            scope.carrier = environ
            for on_start in self._on_start:
                self._call(on_start, scope)
        return scope

    def leave(self, scope: Scope) -> float:
        """Make the scope around a scope the current one again, and return the seconds since it was entered."""
        for on_leave in self._on_leave:
            self._call(on_leave, scope)
        set_current(scope.parent)
        scope.carrier = None  # a subscriber may keep the scope for a while, but not the request
        return perf_counter() - scope.began

    def publish(self, event: Event) -> None:
        """Pass an event to the subscribers. Raise no exception."""
        for on_event in self._on_event:
            self._call(on_event, event)

    def _call(self, subscriber: Callable[..., None], *values: object) -> None:
        try:
            subscriber(*values)
        except Exception as error:  # nobody's request fails because it is observed
            if type(error) not in self._reported:
                self._reported.add(type(error))
                logger.exception("What observes this deployment has failed; each kind of failure is logged once")
