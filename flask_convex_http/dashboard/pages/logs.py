"""The last log records, live: requests, calls of functions, jobs, deliveries, and what functions log."""

from __future__ import annotations

from flask import Response

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit

page = Page("logs", "Logs")

_RECORDS = 100
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@page.get()
def index(visit: Visit) -> Response:
    """List the newest records that match, the newest first. The first page is loaded again while somebody looks."""
    logs = visit.backend.logs
    before = visit.older()
    level = visit.choice("level", _LEVELS, "INFO")
    found = logs.read(
        before=before,
        limit=_RECORDS + 1,
        request_id=visit.text("request") or None,
        function=visit.text("function") or None,
        level=level,
        text=visit.text("text") or None,
    )
    records = found[-_RECORDS:]
    more = records[0].number if len(found) > _RECORDS else None
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
