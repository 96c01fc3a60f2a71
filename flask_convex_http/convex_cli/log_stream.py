"""`npx convex logs`: calls of functions, handled requests and log lines, as Convex streams them.

The command line asks again as soon as it has a response, with the number of the last record as its cursor. A request
waits for a record, and holds a thread of the server meanwhile.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from flask import Request

from flask_convex_http.backend import Backend
from flask_convex_http.errors import OverloadedError
from flask_convex_http.function_api.failures import ProtocolError
from flask_convex_http.function_api.names import Casing, wire_path
from flask_convex_http.log import NAME
from flask_convex_http.logs import LogRecord

#: Seconds that a request waits for a record.
_WAIT = 10.0
#: Requests that may wait at the same time in a process.
_MOST_WAITING = 4
#: Records of one response: the last ones at first, then the next ones.
_PAGE = 1000
#: The largest cursor.
_LARGEST = 2**53
_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}

_HEAD = "Traceback (most recent call last):"
#: A frame of a traceback, with the path of its file.
_FRAME = re.compile(r'^  File "([^"]+)".*(?:\n    .*)*', re.MULTILINE)
#: The folder of this package, whose frames say nothing to the authors of an application.
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep

Entry = dict[str, Any]


class LogStream:
    """Responds to the requests for log records.

    Args:
        backend: The deployment.
        casing: The casing of names for clients.
        own_routes: Returns the routes whose requests are not shown, since the calls in them are.
    """

    def __init__(self, backend: Backend, casing: Casing, own_routes: Callable[[], Collection[str]]) -> None:
        self._logs = backend.logs
        self._entries = Entries(backend, casing, own_routes)
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    def respond(self, current: Request) -> dict[str, Any]:
        """Wait for records after the cursor of a request, and return them.

        Raises:
            ProtocolError: The cursor is malformed (400), or the deployment keeps no records (403).
            OverloadedError: Too many requests wait.
        """
        if not self._logs.is_on:
            raise ProtocolError(
                403, "NotSupported", "This deployment keeps no log records: set CONVEX_LOG_ROWS to their number."
            )
        cursor = _cursor_of(current)
        if not self._places.acquire(blocking=False):
            raise OverloadedError("Too many clients wait for log records; try again in a moment")
        try:
            return self._wait(cursor)
        finally:
            self._places.release()

    def _wait(self, cursor: int) -> dict[str, Any]:
        """Return the entries after a cursor, as soon as there are any.

        Without a cursor the response does not wait, since the command line expects the existing entries first. The
        requests of the command line make records too, but no entries, so a wait goes on after them.
        """
        end = time.monotonic() + (_WAIT if cursor else 0)
        while True:
            records = self._logs.read(after=cursor or None, limit=_PAGE)
            entries = [entry for record in records if (entry := self._entries.of(record)) is not None]
            cursor = records[-1].number if records else cursor
            left = end - time.monotonic()
            if entries or left <= 0:
                return {"entries": entries, "newCursor": cursor}
            if len(records) < _PAGE:
                self._logs.wait(cursor, left)


class Entries:
    """Converts log records to the entries that `npx convex logs` prints.

    Args:
        backend: The deployment.
        casing: The casing of names for clients.
        own_routes: See `LogStream`.
    """

    def __init__(self, backend: Backend, casing: Casing, own_routes: Callable[[], Collection[str]]) -> None:
        self._own_routes = own_routes
        self._functions = backend.functions
        self._casing = casing
        self._writers: dict[str, Callable[[LogRecord], Entry | None]] = {
            "function": self._call,
            "request": self._request,
            "line": self._line,
        }

    def of(self, record: LogRecord) -> Entry | None:
        """Return the entry of a record, or None for one that the command line does not show."""
        write = self._writers.get(record.kind)
        return None if write is None else write(record)

    def _call(self, record: LogRecord) -> Entry | None:
        name = record.function or ""
        if name.startswith("_"):  # a function of the package itself
            return None
        identifier = wire_path(name, self._casing)
        return _completion(record, str(record.data["kind"]).capitalize(), identifier)

    def _request(self, record: LogRecord) -> Entry | None:
        route = record.data.get("route")
        if not route or route in self._own_routes():
            return None
        entry = _completion(record, "HttpAction", f"{record.data['method']} {route}")
        return entry | {"success": {"status": str(record.data["status"])}}

    def _line(self, record: LogRecord) -> Entry | None:
        """Return the entry of a line that the application has logged in a function or a request."""
        if record.request_id is None and record.function is None:
            return None
        if record.logger == NAME or record.logger.startswith(f"{NAME}."):
            return None
        function = None if record.function is None else self._functions.get(record.function)
        kind = "HttpAction" if function is None else function.kind.capitalize()
        identifier = record.logger if function is None else wire_path(function.name, self._casing)
        line = {
            "messages": [record.message],
            "level": _LEVELS.get(record.level, record.level),
            "timestamp": record.time,
            "isTruncated": False,
        }
        return _entry(record, "Progress", kind, identifier) | {"logLines": [line]}


def _completion(record: LogRecord, kind: str, identifier: str) -> Entry:
    """Return the entry of a call or a request that has ended."""
    data = record.data
    return _entry(record, "Completion", kind, identifier) | {
        "executionTime": data["ms"] / 1000,
        "success": None,
        "error": _error_of(data),
        "cachedResult": False,
        "caller": "Scheduler" if data.get("job") else "HttpEndpoint",
        "environment": "python",
        "willRetry": False,
    }


def _error_of(data: dict[str, Any]) -> str | None:
    """Return the error of a record with the frames of the application, or with the traceback of a chain of errors."""
    error, traceback = data.get("error"), str(data.get("traceback", "")).rstrip()
    if error is None:
        return None
    if traceback.count(_HEAD) > 1:
        return traceback
    own = [frame[0] for frame in _FRAME.finditer(traceback) if not frame[1].startswith(_PACKAGE)]
    return "\n".join([f"Uncaught {error}", *own])


def _entry(record: LogRecord, kind: str, udf_type: str, identifier: str) -> Entry:
    return {
        "kind": kind,
        "udfType": udf_type,
        "identifier": identifier,
        "timestamp": record.time / 1000,
        "logLines": [],
        "requestId": record.request_id or "",
        "executionId": str(record.number),
    }


def _cursor_of(current: Request) -> int:
    """Return the cursor of a request, a number that JavaScript may write with a fraction.

    Raises:
        ProtocolError: It is none (400).
    """
    text = current.args.get("cursor", "0")
    try:
        cursor = float(text)
    except ValueError:
        cursor = -1.0
    if not 0 <= cursor < _LARGEST:
        raise ProtocolError(400, "BadQueryArgs", "cursor must be 0, or the newCursor of the response before")
    return int(cursor)
