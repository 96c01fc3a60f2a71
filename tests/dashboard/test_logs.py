"""The page of log records."""

import pytest
from flask import Flask

from flask_convex_http.dashboard.pages import logs
from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, next_page, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<script>alert(1)</script>"


def test_records(app: Flask, visitor: Visitor) -> None:
    """Records are listed with their errors as text, by request, function, level and text."""
    with pytest.raises(Exception, match="alert"):
        backend_of(app).ctx(request_id="request-1").run_mutation("shop:fail", text=HOSTILE)
    page = visitor.get("/logs?level=WARNING")
    assert HOSTILE not in page.text and HOSTILE in text_of(page) and "mutation shop:fail failed" in text_of(page)
    for query in ("request=request-1", "function=shop:fail", "text=SHOP:FAIL", "level=DEBUG"):
        assert "mutation shop:fail failed" in text_of(visitor.get(f"/logs?{query}"))
    for query in ("request=request-2", "function=shop:greet", "text=nothing", "level=CRITICAL", "older=1"):
        assert "No records match." in text_of(visitor.get(f"/logs?{query}"))
    for query in ("level=LOUD", "older=x"):
        assert visitor.get(f"/logs?{query}").status_code == 400


def test_recent_calls(app: Flask, visitor: Visitor) -> None:
    """A function shows its recent calls."""
    backend_of(app).run("shop:greet", {"name": "Ada"})
    page = text_of(visitor.get("/functions/shop:greet"))
    assert "Recent calls" in page and "action shop:greet succeeded" in page


def test_pages(app: Flask, visitor: Visitor) -> None:
    """Older records are read in pages, and only the first page is live."""
    for _ in range(120):
        backend_of(app).run("shop:list_orders", {})
    first = visitor.get("/logs?function=shop:list_orders&level=DEBUG").text
    older = first.partition("&amp;older=")[2].partition('"')[0] or first.partition("older=")[2].partition('"')[0]
    second = visitor.get(f"/logs?function=shop:list_orders&level=DEBUG&older={older}").text
    assert (first.count("<tr>"), second.count("<tr>")) == (101, 21)
    assert "data-live" in first and "data-live" not in second


def test_search_in_parts(app: Flask, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page searches some records for a text, and the next one continues with older ones."""
    monkeypatch.setattr(logs, "_SEARCHED", 40)
    backend_of(app).run("shop:greet", {"name": "Ada"})
    for _ in range(100):
        backend_of(app).run("shop:list_orders", {})
    page, count = visitor.get("/logs?text=GREET&level=DEBUG").text, 1
    assert "None of the newest records matches." in page
    while "shop:greet succeeded" not in page:
        page, count = visitor.client.get(next_page(page)).text, count + 1
    assert count == 3


def test_pages_of_a_search(app: Flask, visitor: Visitor) -> None:
    """The records that have a text are read in pages."""
    for _ in range(120):
        backend_of(app).run("shop:list_orders", {})
    first = visitor.get("/logs?text=list_orders&level=DEBUG").text
    second = visitor.client.get(next_page(first)).text
    assert (first.count("<tr>"), second.count("<tr>")) == (101, 21)
