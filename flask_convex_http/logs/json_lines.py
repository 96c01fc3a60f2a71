"""Log lines as JSON objects, for `CONVEX_LOG=json`: one object a line, for programs that collect logs."""

from __future__ import annotations

import datetime
import logging
from typing import Any

import msgspec

from flask_convex_http.error_texts import escape
from flask_convex_http.log import traceback_of
from flask_convex_http.logs.records import error_text

#: What `logging` itself, or the package, sets on a record. Everything else is `extra=` of the code that logs.
_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "asctime",
    "convex",
    "convex_event",
    "convex_function",
    "convex_request_id",
    "message",
    "taskName",
}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object.

    The keys are `time`, `level`, `logger`, `message` and `process`, with `request_id` and `function` where they are
    known, the fields of a request, function, job or delivery, those of `extra=`, and `error` and `traceback` of an
    exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON of a record, without a line break."""
        fields: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "process": record.process,
            "request_id": record.__dict__.get("convex_request_id"),
            "function": record.__dict__.get("convex_function"),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _OWN}
        fields |= record.__dict__.get("convex") or _exception(record)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return _encoded({name: value for name, value in fields.items() if value is not None})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit
        return str(record.msg)


def _exception(record: logging.LogRecord) -> dict[str, Any]:
    error = record.exc_info[1] if record.exc_info else None
    return {} if error is None else {"error": error_text(error), "traceback": traceback_of(error)}


def _encoded(fields: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(fields, enc_hook=str).decode()
    except Exception:  # such as half of a surrogate pair, or a value whose str() fails
        texts = {name: value if isinstance(value, (int, float)) else _text(value) for name, value in fields.items()}
        return msgspec.json.encode(texts).decode()


def _text(value: object) -> str:
    try:
        return escape(str(value))
    except Exception:
        return type(value).__name__
