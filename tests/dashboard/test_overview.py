"""The overview: what waits, what happened, and how much there is."""

import re

import pytest
from flask import Flask

from flask_convex_http.dashboard.charts import charts_of
from flask_convex_http.logs.statistics import Minute, minutes
from tests.dashboard.shop import add_customer, add_order, backend_of, fail
from tests.dashboard.visitors import Visitor, text_of
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


def test_figures(app: Flask, visitor: Visitor) -> None:
    """The overview counts rows and jobs, and links to them."""
    backend = backend_of(app)
    customer = backend.ctx().run_mutation(add_customer, email="a@x.example", name="Ann")
    backend.ctx().scheduler.run_after(0, add_order, customer=customer, amount=1)
    page = visitor.get("/")
    assert "Worker of this process none Due jobs 1 Running jobs 0 Failed jobs 0" in text_of(page)
    assert '<a href="/_convex/tables/customers">1</a>' in page.text


def test_statistics(app: Flask, visitor: Visitor) -> None:
    """The charts have what requests and functions did, without the requests of the dashboard itself."""
    backend = backend_of(app)
    for _ in range(3):
        app.test_client().get("/nowhere")
        visitor.get("/tables")
    with pytest.raises(Exception, match="No more lamps"):
        backend.ctx().run_mutation(fail)
    text = text_of(visitor.get("/"))
    assert "Requests per minute 3 all, 3 4xx" in text and "Function calls per minute 1 all, 1 failed" in text
    assert "Requests per 15 minutes 3 all" in text_of(visitor.get("/?span=day"))
    assert visitor.get("/?span=year").status_code == 400


def test_numbers_of_charts() -> None:
    """A chart has a row for each step and a table of the same numbers."""
    counters = [(2, "requests", "2xx", 5.0), (2, "request_seconds", "3", 5.0), (3, "requests", "5xx", 1.0)]
    requests, latency, *_ = charts_of(minutes(counters, 1, 4, 1), 1)
    assert [values for _, values in requests.rows] == [[0, 0, 0], [5, 0, 0], [1, 0, 1]]
    assert latency.rows[1][1] == [10.0, 10.0] and latency.rows[0][1] == [None, None]
    assert requests.total == "6 all, 1 5xx" and not requests.is_empty
    assert all(chart.is_empty for chart in charts_of([Minute(start=0)], 1))


def test_without_statistics(app: Flask) -> None:
    """Every chart of a quiet deployment says that nothing happened."""
    text = Visitor(app).get("/").text
    assert len(re.findall("Nothing happened", text)) >= 4
