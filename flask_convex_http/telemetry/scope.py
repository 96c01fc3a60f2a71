"""The scope of what runs at the moment: a request, a function, a transaction, a delivery or a job.

It is a context variable, so that log lines find the request and the function that they belong to, also in the thread of
the writer, which runs work with the context of its caller.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from flask_convex_http.telemetry.telemetry import Telemetry

DeliveryState = Literal["accepted", "done", "unhandled", "duplicate", "failed", "dead", "declined"]
ScopeKind = Literal["request", "function", "transaction", "delivery", "job"]

_current: ContextVar[Scope | None] = ContextVar("flask_convex_http.scope", default=None)


class Scope(msgspec.Struct, eq=False):
    """A unit of work that runs, and the one that it is a part of.

    Attributes:
        telemetry: The telemetry of its deployment.
        kind: Its kind.
        name: The method of a request, the name of a function, the function or label of a transaction, the source of a
            delivery, or the function of a job.
        parent: The scope that it is a part of, or None.
        request_id: The id of the request that it belongs to, or None.
        started: When it started, in seconds since the epoch.
        began: The same time on the clock of `time.perf_counter`.
        carrier: The holder of the context of a trace: the WSGI environment of a request, or the headers that the
            scheduler of a job has left; None for others, and after the scope has been left.
        subject: The id of a job, or the sender's id of a delivery; None for others.
        own_function: The name of the function that it runs, or of the handler of a delivery; None for others.
        outcome: The state of a delivery that has ended and the text of its error, or None.
        span: The span that the subscriber for traces keeps here.
    """

    telemetry: Telemetry
    kind: ScopeKind
    name: str
    parent: Scope | None
    request_id: str | None
    started: float
    began: float
    carrier: Mapping[str, Any] | None = None
    subject: str | None = None
    own_function: str | None = None
    outcome: tuple[DeliveryState, str | None] | None = None
    span: Any = None

    @property
    def seconds(self) -> float:
        """The seconds since it began."""
        return time.perf_counter() - self.began

    @property
    def function(self) -> str | None:
        """The name of the innermost function or handler that runs, or None."""
        scope: Scope | None = self
        while scope is not None and scope.own_function is None:
            scope = scope.parent
        return None if scope is None else scope.own_function


def current_scope() -> Scope | None:
    """Return the scope of what runs at the moment in this thread, or None."""
    return _current.get()


#: Get and set the scope of what runs in this thread. They are called for each request.
get_current, set_current = _current.get, _current.set
