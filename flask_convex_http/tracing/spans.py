"""Spans of scopes: each starts with its scope, is current as long as it, and ends with the scope's event.

Rules:

* Names and attributes are OpenTelemetry's semantic conventions where those have some, and begin with `convex.` else.
* A request continues the trace of its headers, unless an instrumentation around the app has done so.
* A job begins a trace of its own, with a link to what has scheduled it. Its due time may be days later.
* An attribute has no argument, body, header or path, which may have secrets in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from importlib.metadata import version
from typing import Any, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flask_convex_http.error_texts import text_of
from flask_convex_http.telemetry import (
    DeliveryFinished,
    DeliveryRejected,
    Event,
    FunctionFinished,
    GroupCommitted,
    JobFinished,
    RequestFinished,
    Scope,
    TransactionFinished,
)

Attributes = dict[str, str | int | float | bool]

#: Jobs are linked in the format of the W3C, whatever the application's propagators are.
_W3C = TraceContextTextMapPropagator()
_PARENT = "traceparent"
_SECOND = 1_000_000_000
_KINDS = {"request": SpanKind.SERVER, "delivery": SpanKind.CONSUMER, "job": SpanKind.CONSUMER}


class _Headers(Getter[Mapping[str, Any]]):
    """Reads headers from a WSGI environment."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        """Return the values of a header."""
        value = carrier.get(f"HTTP_{key.upper().replace('-', '_')}")
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        """Return the names of all headers."""
        return [name[5:].replace("_", "-").lower() for name in carrier if name.startswith("HTTP_")]


_HEADERS = _Headers()


class _Open(NamedTuple):
    """The span of a scope, and what makes the context around it current again."""

    span: Span
    token: Token[Context]


def current_traceparent() -> str | None:
    """Return the current span in the format of the header `traceparent`, or None."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(_PARENT)


class Spans:
    """Starts and ends the spans of a deployment. Thread-safe.

    Args:
        system: The name of the database system.
    """

    def __init__(self, system: str) -> None:
        self._system = system
        self._tracer = get_tracer("flask_convex_http", version("flask-convex-http"))
        self._by_type: dict[type, Callable[[Any], None]] = {
            RequestFinished: self._end_request,
            FunctionFinished: self._end_function,
            TransactionFinished: self._end_transaction,
            DeliveryFinished: self._end_delivery,
            DeliveryRejected: self._note_rejection,
            JobFinished: self._end_job,
            GroupCommitted: lambda event: None,  # a group has writes of many traces
        }

    def start(self, scope: Scope) -> None:
        """Start the span of a scope, and make it the current one."""
        around = _context_of(scope)
        span = self._tracer.start_span(
            _name_of(scope),
            around,
            _KINDS.get(scope.kind, SpanKind.INTERNAL),
            self._attributes(scope),
            _links_of(scope),
            int(scope.started * _SECOND),
        )
        scope.span = _Open(span, contexts.attach(set_span_in_context(span, around)))

    def leave(self, scope: Scope) -> None:
        """Make the span around that of a scope the current one again."""
        if scope.span is not None:
            contexts.detach(scope.span.token)

    def end(self, event: Event) -> None:
        """End the span of an event's scope."""
        self._by_type[type(event)](event)

    def _attributes(self, scope: Scope) -> Attributes:
        attributes: Attributes = {}
        if scope.request_id is not None:
            attributes["convex.request.id"] = scope.request_id
        if scope.kind == "request":
            attributes["http.request.method"] = scope.name
            attributes["url.scheme"] = str((scope.carrier or {}).get("wsgi.url_scheme", "http"))
        elif scope.kind == "function":
            attributes["code.function.name"] = scope.name
        elif scope.kind == "transaction":
            attributes["db.system.name"] = self._system
        elif scope.kind == "delivery":
            attributes |= {"messaging.system": "webhook", "messaging.destination.name": scope.name}
            attributes |= {"messaging.operation.type": "process", "messaging.message.id": scope.subject or ""}
        else:
            attributes |= {"code.function.name": scope.name, "convex.job.id": scope.subject or ""}
        return attributes

    # --- ends --------------------------------------------------------------------------------------------------------

    def _end_request(self, event: RequestFinished) -> None:
        span = _span_of(event.scope)
        if span is None:
            return
        span.set_attribute("http.response.status_code", event.status)
        if event.route is not None:
            span.set_attribute("http.route", event.route)
            span.update_name(f"{_method(event.method)} {event.route}")
        is_error = event.status >= 500
        if is_error and event.error is None:
            span.set_attribute("error.type", str(event.status))
            span.set_status(Status(StatusCode.ERROR))
        _end(span, event.scope, event.seconds, event.error if is_error else None)

    def _end_function(self, event: FunctionFinished) -> None:
        span = _span_of(event.scope)
        if span is not None:
            span.set_attribute("convex.function.kind", event.kind)
            _end(span, event.scope, event.seconds, event.error)

    def _end_transaction(self, event: TransactionFinished) -> None:
        span = _span_of(event.scope)
        if span is not None:
            span.set_attribute("convex.transaction.wait_seconds", event.wait)
            span.set_attribute("convex.transaction.attempts", event.attempts)
            _end(span, event.scope, event.seconds, event.error)

    def _end_delivery(self, event: DeliveryFinished) -> None:
        span = _span_of(event.scope)
        if span is None:
            return
        span.set_attribute("convex.delivery.provider", event.provider)
        span.set_attribute("convex.delivery.type", event.type)
        span.set_attribute("convex.delivery.state", event.state)
        if event.state in ("failed", "dead"):
            span.set_attribute("error.type", event.state)
            span.set_status(Status(StatusCode.ERROR, event.error))
        _end(span, event.scope, event.seconds)

    def _note_rejection(self, event: DeliveryRejected) -> None:
        attributes = {"messaging.destination.name": event.source, "error.type": event.reason}
        get_current_span().add_event("convex.delivery.rejected", attributes)

    def _end_job(self, event: JobFinished) -> None:
        span = _span_of(event.scope)
        if span is None:
            return
        span.set_attribute("convex.job.attempt", event.attempt)
        span.set_attribute("convex.job.outcome", event.outcome)
        if event.lag is not None:
            span.set_attribute("convex.job.lag_seconds", event.lag)
        _end(span, event.scope, event.seconds, event.error)


def _end(span: Span, scope: Scope, seconds: float, error: BaseException | None = None) -> None:
    if error is not None:
        kind, text = type(error).__qualname__, text_of(error)
        span.set_attribute("error.type", kind)
        span.add_event("exception", {"exception.type": kind, "exception.message": text})
        span.set_status(Status(StatusCode.ERROR, text))
    span.end(int((scope.started + seconds) * _SECOND))


def _span_of(scope: Scope) -> Span | None:
    opened: _Open | None = scope.span
    return None if opened is None else opened.span


# --- starts ----------------------------------------------------------------------------------------------------------


def _name_of(scope: Scope) -> str:
    """Return the name of a span, which has few different values."""
    if scope.kind == "request":
        return _method(scope.name)
    if scope.kind == "transaction":
        return f"transaction {scope.name}" if scope.own_function else scope.name
    verbs = {"delivery": "process", "job": "run"}
    return f"{verbs[scope.kind]} {scope.name}" if scope.kind in verbs else scope.name


def _method(method: str) -> str:
    return "HTTP" if method == "_OTHER" else method


def _context_of(scope: Scope) -> Context:
    """Return the context that a span begins in."""
    current = contexts.get_current()
    if scope.kind == "job":
        return Context()
    if scope.kind != "request" or scope.carrier is None or get_current_span(current).get_span_context().is_valid:
        return current
    return propagate.extract(scope.carrier, current, _HEADERS)


def _links_of(scope: Scope) -> Sequence[Link]:
    """Return the link of a job to what has scheduled it, and of a delivery that it processes to its arrival."""
    if scope.kind not in ("job", "delivery"):
        return ()
    origin: Scope | None = scope
    while origin is not None and origin.kind != "job":
        origin = origin.parent
    if origin is None or origin.carrier is None:
        return ()
    found = get_current_span(_W3C.extract(origin.carrier, Context())).get_span_context()
    return (Link(found),) if found.is_valid else ()
