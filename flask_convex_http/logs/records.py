"""The record of an event.

A record has names, times, outcomes, and the class and text of an exception. It never has a path, a header, a body, an
argument, a key or a token. The `data` of each kind:

* request: `method`, `route` (the rule, or None), `status`, `ms`
* function: `kind`, `ms`, `nested`, `job`
* job: `job`, `kind`, `attempt`, `outcome`, `ms`, `lag_ms`
* delivery: `source`, `provider`, `event_id`, `type`, `state`, `ms`
* all: `error` (class and text) and, for an exception that nobody expected, `traceback`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask_convex_http.error_texts import escape, text_of
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import NAME, traceback_of
from flask_convex_http.telemetry import (
    DeliveryFinished,
    Event,
    FunctionFinished,
    JobFinished,
    RequestFinished,
    RequestGroup,
    Scope,
)
from flask_convex_http.telemetry.records import Level, LogRecord
from flask_convex_http.telemetry.requests import Timing

#: Characters of a name that a sender chooses.
_LONGEST_NAME = 200
_DELIVERY_ENDS = {
    "accepted": "was accepted",
    "done": "is done",
    "unhandled": "has no handler",
    "duplicate": "is a duplicate",
    "failed": "failed",
    "dead": "is dead",
    "declined": "has the id of another content",
}
_JOB_ENDS = {"success": "succeeded", "retry": "failed, and will run again", "failed": "failed"}


def record_of(event: Event) -> LogRecord | None:
    """Return the record of an event, or None for one that is only counted."""
    make = _RECORDS.get(type(event))
    return None if make is None else make(event)


def is_kept(level: Level) -> bool:
    """Return whether records of a level are stored.

    Details of the package are not, nor are pages of the dashboard, which ask again and again.
    """
    return level != "DEBUG"


def of_request(event: RequestFinished) -> LogRecord:
    """Return the record of a request."""
    timing = event.scope.started, event.seconds, event.scope.request_id
    group = RequestGroup(event.method, event.route, event.status, event.is_of_operators, [timing])
    record = record_of_request(group, timing)
    if event.error is not None:
        _add_exception(record, event.error)
    return record


def record_of_request(group: RequestGroup, timing: Timing) -> LogRecord:
    """Return the record of one request of a group."""
    started, seconds, request_id = timing
    ms = _ms(seconds)
    return LogRecord(
        time=started * 1000 + ms,
        level=request_level(group),
        kind="request",
        logger=f"{NAME}.requests",
        message=f"{group.method} {group.route or '(no route)'} {group.status} in {ms} ms",
        request_id=request_id,
        data={"method": group.method, "route": group.route, "status": group.status, "ms": ms},
    )


def request_level(group: RequestGroup) -> Level:
    """Return the level of the records of requests."""
    if group.status >= 500:
        return "ERROR"
    return "DEBUG" if group.is_of_operators else "INFO"


def of_function(event: FunctionFinished) -> LogRecord:
    """Return the record of a call of a function."""
    ms, error = _ms(event.seconds), event.error
    data: dict[str, Any] = {"kind": event.kind, "ms": ms, "nested": event.is_nested}
    if event.job is not None:
        data["job"] = event.job
    if error is None:
        level: Level = "DEBUG" if event.is_live else _success(event.name)
    else:
        level = "WARNING" if is_expected(error) else "ERROR"
    message = f"{event.kind} {event.name} {'succeeded' if error is None else 'failed'} in {ms} ms"
    return _record(event.scope, "function", "functions", level, message, data, error, function=event.name)


def of_job(event: JobFinished) -> LogRecord:
    """Return the record of an attempt of a job."""
    ms = _ms(event.seconds)
    data = {
        "job": event.id,
        "kind": event.kind,
        "attempt": event.attempt,
        "outcome": event.outcome,
        "ms": ms,
        "lag_ms": None if event.lag is None else _ms(event.lag),
    }
    level: Level = _success(event.name)
    if event.error is not None:
        level = "ERROR" if event.outcome == "failed" else "WARNING"
    message = f"The scheduled {event.kind} {event.name} ({event.id}) {_JOB_ENDS[event.outcome]} in {ms} ms"
    return _record(event.scope, "job", "jobs", level, message, data, event.error, function=event.name)


def of_delivery(event: DeliveryFinished) -> LogRecord:
    """Return the record of a delivery."""
    ms, event_id, type = _ms(event.seconds), _name(event.event_id), _name(event.type)
    data = {
        "source": event.source,
        "provider": event.provider,
        "event_id": event_id,
        "type": type,
        "state": event.state,
        "ms": ms,
    }
    level: Level = {"dead": "ERROR", "failed": "WARNING"}.get(event.state, "INFO")  # type: ignore[assignment]
    message = (
        f"Webhook {event.source}: delivery {event_id} ({type or 'no type'}) {_DELIVERY_ENDS[event.state]} after {ms} ms"
    )
    record = _record(event.scope, "delivery", "webhooks", level, message, data, None)
    if event.error is not None:
        _add_error(record, event.error)
    return record


def is_expected(error: BaseException) -> bool:
    """Return whether an exception is for the client, such as a `ConvexError`, and no fault of the code."""
    return isinstance(error, ConvexHTTPError) and error.public and error.status < 500


def _record(
    scope: Scope,
    kind: Any,
    part: str,
    level: Level,
    message: str,
    data: dict[str, Any],
    error: BaseException | None,
    function: str | None = None,
) -> LogRecord:
    record = LogRecord(
        time=(scope.started * 1000) + data["ms"],
        level=level,
        kind=kind,
        logger=f"{NAME}.{part}",
        message=message,
        request_id=scope.request_id,
        function=function or scope.function,
        data=data,
    )
    if error is not None:
        _add_exception(record, error)
    return record


def _add_exception(record: LogRecord, error: BaseException) -> None:
    _add_error(record, error_text(error))
    if not is_expected(error) and not record.data.get("nested"):
        record.data["traceback"] = traceback_of(error)


def _add_error(record: LogRecord, text: str) -> None:
    record.data["error"] = text
    record.message = f"{record.message}: {text}".replace("\n", "\\n")


def error_text(error: BaseException) -> str:
    """Return the class and the text of an exception, with what only operators see."""
    detail = getattr(error, "detail", "")
    text = text_of(error).removeprefix(f"{type(error).__module__}.")
    return f"{text}: {escape(str(detail))}" if detail else text


def _success(name: str) -> Level:
    """Return the level of a function that has ended well. Those of the package itself are details."""
    return "DEBUG" if name.startswith("_") else "INFO"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _name(text: str) -> str:
    return escape(text[:_LONGEST_NAME])


_RECORDS: dict[type, Callable[[Any], LogRecord]] = {
    RequestFinished: of_request,
    FunctionFinished: of_function,
    JobFinished: of_job,
    DeliveryFinished: of_delivery,
}
