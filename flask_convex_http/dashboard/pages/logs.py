"""The last log records, live: requests, calls of functions, jobs, deliveries, and what functions log."""

from __future__ import annotations

from typing import Any

from flask import Response

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.logs import LogRecord, Logs

page = Page("logs", "Logs")

_RECORDS = 100
#: Records that a page searches for a text, which no index has.
_SEARCHED = 20_000
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@page.get()
def index(visit: Visit) -> Response:
    """List the newest records that match, the newest first. The first page is loaded again while somebody looks."""
    logs, before = visit.backend.logs, visit.older()
    level, text = visit.choice("level", _LEVELS, "INFO"), visit.text("text")
    conditions: dict[str, Any] = {
        "request_id": visit.text("request") or None,
        "function": visit.text("function") or None,
        "level": level,
    }
    records, more = _search(logs, before, text, conditions) if text else _newest(logs, before, conditions)
    return visit.render(
        "logs.html",
        records=list(reversed(records)),
        next=more,
        levels=list(_LEVELS),
        level=level,
        is_on=logs.is_on,
        is_live=before is None,
        functions=[function.name for function in visit.backend.functions],
    )


def _newest(logs: Logs, before: int | None, conditions: dict[str, Any]) -> tuple[list[LogRecord], int | None]:
    """Return the newest matching records, and where the next page begins."""
    found = logs.read(before=before, limit=_RECORDS + 1, **conditions)
    records = found[-_RECORDS:]
    return records, records[0].number if len(found) > _RECORDS else None


def _search(
    logs: Logs, before: int | None, text: str, conditions: dict[str, Any]
) -> tuple[list[LogRecord], int | None]:
    """Return the newest matching records among some thousand, and where the next page begins."""
    end = logs.newest() + 1
    if before is not None:
        end = min(end, before)
    start = max(end - 1 - _SEARCHED, 0)
    found = logs.read(after=start, before=end, limit=_SEARCHED, text=text, **conditions)
    records = found[-_RECORDS:]
    if len(found) > _RECORDS:
        return records, records[0].number
    return records, start + 1 if start else None
