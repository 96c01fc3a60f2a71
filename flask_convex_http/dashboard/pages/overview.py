"""The overview: waiting work, the size of tables, and the events of the last hour or day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, current_app

from flask_convex_http.dashboard.charts import charts_of
from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.metrics.gauges import DATABASE_BYTES, INBOX, JOBS, LAG, LOG_BYTES, readings
from flask_convex_http.web.state import WORKER
from flask_convex_http.worker import BackgroundWorker

page = Page("overview", "Overview", "/")

#: Minutes in all, and in one step.
_SPANS = {"hour": (60, 1), "day": (24 * 60, 15)}
#: Seconds without a heartbeat after which a worker counts as dead.
_DEAD_AFTER = 60.0


@page.get()
def index(visit: Visit) -> Response:
    """Show everything at a glance."""
    backend = visit.backend
    span = visit.choice("span", list(_SPANS), "hour")
    minutes, step = _SPANS[span]
    since = backend.clock() - (minutes - 1) * 60_000
    happened = backend.logs.statistics(since=since, step=timedelta(minutes=step))
    gauges = dict(readings(backend))
    return visit.render(
        "overview.html",
        span=span,
        spans=list(_SPANS),
        charts=charts_of(happened, step),
        has_statistics=backend.logs.is_on,
        tables=_tables(visit),
        jobs=_by_label(gauges.get(JOBS, {})),
        deliveries=_by_label(gauges.get(INBOX, {})),
        lag=gauges.get(LAG, {}).get((), 0.0) * 1000,
        size=gauges.get(DATABASE_BYTES, {}).get(()),
        log=gauges.get(LOG_BYTES, {}).get(()),
        waited=(backend.engine.oldest_wait() or 0) * 1000,
        location=str(backend.location),
        worker=_worker(),
        runs_jobs=backend.settings.worker == "on",
        functions=len(list(backend.functions)),
        webhooks=len(backend.webhooks),
        history=backend.settings.history,
    )


def _worker() -> str:
    """Return the state of the worker of this process, in one word."""
    background: BackgroundWorker = current_app.extensions[WORKER]
    age = background.heartbeat_age()
    if age is None:
        return "none"
    return "alive" if age < _DEAD_AFTER else "dead"


def _tables(visit: Visit) -> list[tuple[str, int]]:
    names = sorted(table.name for table in visit.backend.schema.tables.values() if not table.system)
    return [(name, visit.backend.tables.count(name)) for name in names]


def _by_label(values: Any) -> dict[str, int]:
    return {labels[0]: int(value) for labels, value in values.items()}
