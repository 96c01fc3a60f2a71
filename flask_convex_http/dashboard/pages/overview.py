"""The overview: what the database holds and what waits to be done."""

from __future__ import annotations

from flask import Response

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit

page = Page("overview", "Overview", "/")


@page.get()
def index(visit: Visit) -> Response:
    """Show the size of everything."""
    backend = visit.backend
    return visit.render(
        "overview.html",
        tables=[count for count in backend.tables.counts() if not count.is_system],
        location=str(backend.location),
        functions=len(backend.describe_functions()),
    )
