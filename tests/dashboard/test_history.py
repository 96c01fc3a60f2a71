"""The page of the commit log: commits, documents and undo."""

import pytest
from flask import Flask

from flask_convex_http.history import listing
from flask_convex_http.history.listing import ListedCommit
from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, next_page, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(name="customer")
def _customer(app: Flask) -> str:
    """Return the id of a customer that one request has inserted."""
    customer: str = (
        backend_of(app)
        .ctx(request_id="request-1")
        .run_mutation("shop:add_customer", email="ada@shop.example", name=HOSTILE)
    )
    return customer


def test_empty(visitor: Visitor) -> None:
    """Without commits the page says what makes one."""
    assert "Each mutation that changes a document adds one" in text_of(visitor.get("/history"))


def test_commits(visitor: Visitor, customer: str) -> None:
    """Commits are listed with their causes and changes, by cause and by table."""
    listed = text_of(visitor.get("/history"))
    assert (
        "function shop:add_customer" in listed
        and "request request-1" in listed
        and f"insert customers_…{customer[-8:]}" in listed
    )
    assert customer in visitor.get("/history?cause=request-1&table=customers").text
    for query in ("cause=request-2", "table=orders", "older=1"):
        assert customer not in visitor.get(f"/history?{query}").text
    assert visitor.get("/history?table=nothing").status_code == 400
    assert visitor.get("/history?older=x").status_code == 400


def test_a_commit(visitor: Visitor, customer: str) -> None:
    """A commit shows the documents after it, as text."""
    number = visitor.backend.history.log(limit=1)[0].number
    page = visitor.get(f"/history/{number}")
    assert HOSTILE in text_of(page) and HOSTILE not in page.text
    assert visitor.get("/history/999999").status_code == 404
    assert visitor.get(f"/history/{10**30}").status_code == 404


def test_a_document(visitor: Visitor, customer: str) -> None:
    """A document shows who changed it, also after it is gone."""
    assert "request request-1" in text_of(visitor.get(f"/history/document?id={customer}"))
    response = visitor.client.get("/_convex/history/document?id=nobody", follow_redirects=True)
    assert "is not the id of a document" in text_of(response)


def test_undo(app: Flask, visitor: Visitor, customer: str) -> None:
    """An undo shows its changes first, then makes them, and the log names the operator."""
    preview = visitor.get("/history/undo?what=request-1")
    assert "Nothing was changed yet" in text_of(preview) and HOSTILE in text_of(preview)
    assert backend_of(app).history.log(limit=1)[0].function == "shop:add_customer"
    assert "Undid request-1: 1 row changed." in text_of(visitor.post("/history/undo", what="request-1"))
    newest = backend_of(app).history.log(limit=1)[0]
    assert newest.undoes is not None and newest.identity == "dashboard: a one-time link"
    assert "is undone already" in text_of(visitor.get("/history/undo?what=request-1"))
    assert "is undone already" in text_of(visitor.post("/history/undo", what="request-1"))


def test_read_only(reader: Visitor, customer: str) -> None:
    """A read-only session sees the log and undoes nothing."""
    assert "history/undo" not in reader.get("/history").text
    assert reader.get("/history/undo?what=request-1").status_code == 403
    assert reader.post("/history/undo", what="request-1").status_code == 403


def test_pages(app: Flask, visitor: Visitor) -> None:
    """Long logs are read in pages."""
    for number in range(60):
        backend_of(app).ctx().run_mutation("shop:add_customer", email=f"{number}@shop.example", name="A")
    first = visitor.get("/history").text
    oldest = backend_of(app).history.page(limit=50, changes=3).older_than
    assert f"older={oldest}" in first
    second = visitor.get(f"/history?older={oldest}").text
    assert second.count("shop:add_customer</a>") == 10 and "First page" in second


def test_each_commit_is_on_one_page(app: Flask) -> None:
    """Pages of the log have each commit once with its changes, whatever they are filtered by."""
    backend = backend_of(app)
    for number in range(5):
        backend.run("shop:add_customer", {"email": f"{number}@shop.example", "name": "Ada"})
    choices: list[dict[str, str]] = [{}, {"cause": "shop:add_customer"}, {"table": "customers"}]
    for chosen in choices:
        found: list[ListedCommit] = []
        older: int | None = None
        for _ in range(3):
            page = backend.history.page(limit=2, changes=3, older_than=older, **chosen)
            found, older = found + page.commits, page.older_than
        assert [listed.commit.number for listed in found] == [5, 4, 3, 2, 1] and older is None
        assert all((len(listed.commit.changes), listed.count) == (1, 1) for listed in found)
    assert backend.history.page(limit=2, changes=3, table="orders").commits == []


def test_a_commit_with_many_changes(app: Flask, visitor: Visitor) -> None:
    """The list shows the first changes of a commit and the number of the others, and its own page has them in pages."""
    added = backend_of(app).ctx().run_mutation("shop:add_customers", count=120)
    for query in ("", "?table=customers"):
        listed = visitor.get(f"/history{query}").text
        assert [customer in listed for customer in added[:4]] == [True, True, True, False] and "117 more" in listed
    pages = [visitor.get("/history/1").text]
    while 'rel="next"' in pages[-1]:
        pages.append(visitor.client.get(next_page(pages[-1])).text)
    assert [page.count("<h2") for page in pages] == [50, 50, 20]
    assert "Changes 101 to 120 of 120." in pages[2] and added[119] in pages[2] and "119@many.example" in pages[2]
    for first in ("121", "9" * 15):
        assert "no further changes" in visitor.get(f"/history/1?first={first}").text
    assert visitor.get("/history/1?first=0").status_code == 400


def test_undo_of_many_changes(app: Flask, visitor: Visitor) -> None:
    """The preview of an undo shows the first rows and the number of all."""
    backend_of(app).ctx().run_mutation("shop:add_customers", count=250)
    preview = text_of(visitor.get("/history/undo?what=1"))
    assert "These are the first 200 of 250 rows." in preview


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_document_with_many_changes(app: Flask, visitor: Visitor, customer: str, is_indexed: bool) -> None:
    """The changes of a document are read in pages."""
    backend = backend_of(app)
    for number in range(60):
        backend.ctx().run_mutation("shop:rename", customer=customer, name=f"name {number}")
        backend.ctx().run_mutation("shop:add_customer", email=f"{number}@shop.example", name="Another")
    while is_indexed and backend.history.index():
        pass
    first = visitor.get(f"/history/document?id={customer}").text
    second = visitor.client.get(next_page(first)).text
    assert (first.count("<td>update</td>"), second.count("<td>update</td>")) == (50, 10)
    assert second.count("<td>insert</td>") == 1 and "name 58" in first and "name 0" in second


def test_a_page_is_read_in_parts(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after so many characters of changes, and the next one continues there."""
    backend = backend_of(app)
    backend.ctx().run_mutation("shop:add_customers", count=30)
    for number in range(3):
        backend.run("shop:add_customer", {"email": f"{number}@shop.example", "name": "Ada"})
    monkeypatch.setattr(listing, "_MOST_CHARACTERS", 1000)
    page = backend.history.page(limit=50, changes=3)
    assert [listed.commit.number for listed in page.commits] == [4, 3, 2, 1] and page.older_than == 1
    assert backend.history.page(limit=50, changes=3, older_than=1).commits == []
