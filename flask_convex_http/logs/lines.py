"""Log lines of the application and of the package, as records.

A line that the application logs while a function, a handler or a request runs belongs to it, and gets its request id
and function as `convex_request_id` and `convex_function`, for formatters. This is done where `logging` makes its
records, since a filter of a logger does not see the lines of the loggers below it, and a handler on the root logger
would change where lines without any configuration go. Nothing is installed before the first subscriber.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from flask_convex_http import log
from flask_convex_http.error_texts import escape
from flask_convex_http.log import traceback_of
from flask_convex_http.logs.records import error_text
from flask_convex_http.telemetry import Telemetry, current_scope
from flask_convex_http.telemetry.records import LogRecord, level_name

#: Characters of a line.
_LONGEST_LINE = 4000

_Sink = Callable[[LogRecord], None]

_sinks: weakref.WeakKeyDictionary[Telemetry, _Sink] = weakref.WeakKeyDictionary()
_installing = threading.Lock()
_is_installed = False


def collect(telemetry: Telemetry, sink: _Sink) -> Callable[[], None]:
    """Pass the lines of a deployment to a function from now on, in the thread that logs them.

    Args:
        telemetry: The telemetry of the deployment.
        sink: Called with each line. It neither waits nor logs.

    Returns:
        A function that ends this.
    """
    label()
    _sinks[telemetry] = sink
    kept = weakref.ref(telemetry)

    def end() -> None:
        known = kept()
        if known is not None:
            _sinks.pop(known, None)

    return end


def label() -> None:
    """Give the lines of this process their request id and function from now on."""
    global _is_installed
    with _installing:
        if _is_installed:
            return
        _is_installed = True
        known = logging.getLogRecordFactory()

        def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = known(*args, **kwargs)
            _label(record)
            return record

        logging.setLogRecordFactory(make)
        log.observers.append(_of_package)


def _label(record: logging.LogRecord) -> None:
    scope = current_scope()
    record.convex_request_id = None if scope is None else scope.request_id
    record.convex_function = None if scope is None else scope.function
    if scope is not None and not record.name.startswith(log.NAME):
        sink = _sinks.get(scope.telemetry)
        if sink is not None:
            sink(_line(record))


def _of_package(record: logging.LogRecord) -> None:
    """Collect a line of the package. One outside of every scope may belong to each deployment of the process."""
    if log.is_event(record):  # the event itself is a record
        return
    scope = current_scope()
    sinks = list(_sinks.values()) if scope is None else [_sinks.get(scope.telemetry)]
    for sink in sinks:
        if sink is not None:
            sink(_line(record))


def _line(record: logging.LogRecord) -> LogRecord:
    error = record.exc_info[1] if record.exc_info else None
    data: dict[str, Any] = {}
    if error is not None:
        data = {"error": error_text(error), "traceback": traceback_of(error)}
    return LogRecord(
        time=record.created * 1000,
        level=level_name(record.levelno),
        kind="line",
        logger=escape(record.name),
        message=_message(record),
        request_id=record.__dict__.get("convex_request_id"),
        function=record.__dict__.get("convex_function"),
        data=data,
    )


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # arguments that do not fit: logging reports them to the application
        text = str(record.msg)
    return escape(text[:_LONGEST_LINE]).replace("\n", "\\n")
