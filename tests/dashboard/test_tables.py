"""The pages of tables: rows by index, documents, changes and exports."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import Document, MutationCtx
from tests.dashboard.shop import Customer, Order, backend_of, opened
from tests.dashboard.visitors import Visitor, text_of
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

HOSTILE = "\"><script>alert(1)</script>&amp;'{{7*7}}"
#: Texts that spreadsheets run.
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")
_VERSION = re.compile(r'name="_version" value="([^"]+)"')


def add(app: Flask, *documents: Document) -> list[Any]:
    """Insert documents and return their ids."""
    backend = backend_of(app)

    def insert(ctx: MutationCtx) -> list[Any]:
        return [ctx.db.insert(document) for document in documents]

    return backend.runtime.transact(insert, backend.caller())


def get(app: Flask, document_id: str) -> Any:
    """Return a document."""
    backend = backend_of(app)
    table = backend.schema.table_of(document_id)
    with backend.engine.snapshot() as snapshot:
        row = snapshot.get(table, document_id)
    return row and table.read(row)


def next_page(text: str) -> str:
    """Return the path of the link to the next page."""
    found = re.search(r'rel="next" href="/_convex([^"]+)"', text)
    assert found is not None
    return found[1].replace("&amp;", "&")


def test_list_of_tables(app: Flask, visitor: Visitor) -> None:
    """The list has each table with its number of rows, and says what it holds."""
    add(app, *[Customer(email=f"{number}@x.example", name="Ann") for number in range(3)])
    text = text_of(visitor.get("/tables"))
    assert "customers 3 3 by_email , by_name A customer of the shop." in text
    assert "orders 0 8" in text


def test_rows_in_pages(app: Flask, visitor: Visitor) -> None:
    """Rows come in pages, the newest first, and each row is on exactly one."""
    ids = add(app, *[Customer(email=f"{number}@x.example", name=f"Name {number}") for number in range(7)])
    path, seen = "/tables/customers?rows=3", []
    for _ in range(3):
        text = visitor.get(path).text
        seen += re.findall(r'title="(customers_\w+)"', text)
        path = next_page(text) if 'rel="next"' in text else ""
    assert seen == ids[::-1] and not path


@pytest.mark.parametrize("name", ["name", "endpoint", "self", "_method", "_scheme", "_external"])
def test_link_to_the_next_page(app: Flask, visitor: Visitor, name: str) -> None:
    """The link to the next page keeps the query string, also a parameter that Flask's `url_for` has a meaning for."""
    add(app, *[Customer(email=f"{number}@x.example", name="Ada") for number in range(2)])
    first = visitor.get(f"/tables/customers?rows=1&{name}=x")
    assert first.status_code == 200
    following = next_page(first.text)
    assert f"{name}=x" in following and following in first.text.replace("&amp;", "&").replace("/_convex", "")
    assert visitor.get(following).status_code == 200


def test_filters(app: Flask, visitor: Visitor) -> None:
    """Conditions on the fields of an index choose rows: equalities, then one range."""
    ann, bob = add(app, *[Customer(email=f"{name}@x.example", name=name) for name in ("Ann", "Bob")])
    add(
        app,
        *[Order(customer=ann, amount=amount, is_paid=amount > 3) for amount in range(6)],
        Order(customer=bob, amount=9),
    )

    def amounts(query: str) -> list[int]:
        text = visitor.get(f"/tables/orders?order=asc&{query}").text
        assert 'role="alert"' not in text, text
        return [int(found) for found in re.findall(r"</th>\s*<td>.*?</td>\s*<td><code>(\d+)</code>", text, re.DOTALL)]

    by_customer = f"index=by_customer&on-customer=is&at-customer={ann}"
    assert amounts(by_customer) == [0, 1, 2, 3, 4, 5]
    assert amounts(f"{by_customer}&on-amount=is&at-amount=4") == [4]
    assert amounts(f"{by_customer}&on-amount=from&at-amount=4") == [4, 5]
    assert amounts(f"{by_customer}&on-amount=above&at-amount=4") == [5]
    assert amounts(f"{by_customer}&on-amount=to&at-amount=1") == [0, 1]
    assert amounts(f"{by_customer}&on-amount=below&at-amount=1") == [0]
    assert amounts(f"{by_customer}&on-amount=between&at-amount=1&until-amount=2") == [1, 2]
    assert amounts("index=by_paid&on-is_paid=is&at-is_paid=true") == [4, 5]
    assert amounts("on-creation_time=from&at-creation_time=2001-01-31") == [0, 1, 2, 3, 4, 5, 9]
    assert amounts("on-creation_time=below&at-creation_time=2001-01-31T10:00:00Z") == []


@pytest.mark.parametrize(
    "query",
    [
        "index=by_customer&on-customer=is&at-customer=nobody",
        "index=by_customer&on-amount=is&at-amount=3",
        "index=by_customer&on-customer=is&at-customer=customers_{0}&on-amount=is&at-amount=many",
        "index=by_customer&on-customer=is&at-customer=customers_{0}&on-amount=from&at-amount=1e999",
        "index=by_customer&on-customer=is&at-customer=customers_{0}&on-amount=is&at-amount=99999999999999999999",
        "on-creation_time=is&at-creation_time=yesterday",
        "on-creation_time=from&at-creation_time=9999999999999999999999999999e9999",
        "index=by_paid&on-is_paid=is&at-is_paid=maybe",
    ],
)
def test_wrong_condition(visitor: Visitor, query: str) -> None:
    """A condition that cannot be used is named, and the page still works."""
    response = visitor.get(f"/tables/orders?{query.format('0' * 32)}")
    assert response.status_code == 200 and 'role="alert"' in response.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tables/nothing", 404),
        ("/tables/_settings", 404),
        ("/tables/api_keys", 404),
        ("/tables/customers/customers_0", 404),
        ("/tables/customers/orders_" + "0" * 32, 404),
        ("/tables/customers?index=by_nothing", 400),
        ("/tables/customers?order=sideways", 400),
        ("/tables/customers?rows=0", 400),
        ("/tables/customers?rows=9999999999999999999999", 400),
        ("/tables/customers?cursor=abc", 400),
        ("/tables/customers?on-creation_time=like", 400),
        ("/tables/customers?index=%00%ff", 400),
        ("/tables/customers/export.xml", 404),
    ],
)
def test_hostile_addresses(visitor: Visitor, path: str, status: int) -> None:
    """An address that means nothing is refused with a page that says so."""
    response = visitor.get(path)
    assert response.status_code == status and "<h1>" in response.text


def test_document(app: Flask, visitor: Visitor) -> None:
    """A document shows its fields as text, and references as links to the documents."""
    (customer,) = add(app, Customer(email=HOSTILE, name=HOSTILE, note=None))
    file = backend_of(app).ctx().storage.store(b"x")
    (order,) = add(app, Order(customer=customer, amount=3, tags=[HOSTILE, customer], label=b"\xff\x00", invoice=file))
    page = visitor.get(f"/tables/orders/{order}")
    assert page.text.count(f'href="/_convex/files/file/{file}"') == 1
    assert page.text.count(f'href="/_convex/tables/customers/{customer}"') == 2
    for path in (f"/tables/orders/{order}", f"/tables/customers/{customer}", "/tables/customers", "/tables/orders"):
        response = visitor.get(path)
        assert "<script>alert" not in response.text and "alert(1)" in text_of(response)
        assert "{{7*7}}" in response.text
    assert HOSTILE in text_of(visitor.get(f"/tables/customers/{customer}/edit"))


def test_insert(app: Flask, visitor: Visitor) -> None:
    """A form inserts a document with its defaults; the commit log names the operator."""
    response = visitor.post("/tables/customers/new", email="a@x.example", name="Ann\r\nLee")
    assert response.status_code == 200 and "Inserted the document." in response.text
    (customer,) = re.findall(r"<code>(customers_\w+)</code>", response.text)[:1]
    assert get(app, customer).name == "Ann\nLee" and get(app, customer).note is None
    [commit] = backend_of(app).history.log(limit=1)
    assert (commit.function, commit.identity) == ("_dashboard:insert", "dashboard: a one-time link")
    response = visitor.post(
        "/tables/orders/new",
        **{"customer": customer, "amount": "3", "due": "2027-01-31T12:00:00Z", "tags": '["a"]', "label": '"/wA="'},
    )
    (order,) = re.findall(r"<code>(orders_\w+)</code>", response.text)[:1]
    stored = get(app, order)
    assert (stored.amount, stored.price, stored.tags, stored.label) == (3, 1.5, ["a"], b"\xff\0")
    assert stored.due == datetime(2027, 1, 31, 12, tzinfo=UTC)


def test_insert_of_wrong_values(app: Flask, visitor: Visitor) -> None:
    """A form with wrong values inserts nothing, keeps what was written, and says what is wrong with each field."""
    response = visitor.post(
        "/tables/orders/new", customer="nobody", amount="many", price="x", due="soon", tags="{", is_paid="maybe"
    )
    assert response.status_code == 400
    for name in ("customer", "amount", "price", "due", "tags", "is_paid"):
        assert f'id="field-{name}-error"' in response.text
    assert 'value="many"' in response.text
    assert backend_of(app).tables.count("orders") == 0
    add(app, Customer(email="a@x.example", name="Ann"))
    taken = visitor.post("/tables/customers/new", email="a@x.example", name="Bob")
    assert taken.status_code == 409 and 'role="alert"' in taken.text and "Bob" in taken.text


def test_edit(app: Flask, visitor: Visitor) -> None:
    """An edit changes only the fields that differ, and keeps line ends and all other values as they are."""
    (customer,) = add(app, Customer(email="a@x.example", name="Ann\r\nLee\n", note=""))
    path = f"/tables/customers/{customer}/edit"
    version = _VERSION.findall(visitor.get(path).text)[0]
    form = {"_version": version, "email": "b@x.example", "name": "Ann\r\nLee\r\n", "note": '""'}
    assert "Changed email." in visitor.post(path, **form).text
    stored = get(app, customer)
    assert (stored.email, stored.name, stored.note) == ("b@x.example", "Ann\r\nLee\n", "")
    [commit] = backend_of(app).history.log(limit=1)
    assert [(change.operation, change.before) for change in commit.changes] == [("update", {"email": "a@x.example"})]
    stale = visitor.post(path, **form | {"note": ""})
    assert stale.status_code == 409 and "was changed since" in text_of(stale)
    assert get(app, customer).note == ""
    form["_version"] = _VERSION.findall(visitor.get(path).text)[0]
    assert "Nothing was changed." in visitor.post(path, **form).text
    assert "Changed note." in visitor.post(path, **form | {"note": ""}).text
    assert get(app, customer).note is None
    assert visitor.post(path, **form | {"email": "\0" * 3}).status_code in (200, 400, 409)


def test_long_value(app: Flask, visitor: Visitor) -> None:
    """A value that is too long for a form is not in it, and an edit keeps it."""
    (customer,) = add(app, Customer(email="a@x.example", name="Ann", note="x" * 100_000))
    path = f"/tables/customers/{customer}/edit"
    page = visitor.get(path)
    assert "is too long for a form" in page.text and len(page.text) < 20_000
    form = {"_version": _VERSION.findall(page.text)[0], "email": "a@x.example", "name": "Bob", "note": ""}
    assert "Changed name." in visitor.post(path, **form).text
    assert len(get(app, customer).note) == 100_000


def test_delete(app: Flask, visitor: Visitor) -> None:
    """A document is deleted once."""
    (customer,) = add(app, Customer(email="a@x.example", name="Ann"))
    assert "Deleted" in visitor.post(f"/tables/customers/{customer}/delete").text
    assert get(app, customer) is None
    assert visitor.post(f"/tables/customers/{customer}/delete").status_code == 404


def test_read_only(app: Flask, reader: Visitor) -> None:
    """A read-only session sees rows and exports, finds no button that changes something, and changes nothing."""
    (customer,) = add(app, Customer(email="a@x.example", name="Ann"))
    for path in ("/tables", "/tables/customers", f"/tables/customers/{customer}", "/tables/customers/export.csv"):
        response = reader.get(path)
        assert response.status_code == 200
        assert not {"Insert", "Edit", "Delete"} & set(text_of(response).split())
    assert reader.post("/tables/customers/new", email="b@x.example", name="Bob").status_code == 403
    assert reader.post(f"/tables/customers/{customer}/edit", name="Bob").status_code == 403
    assert reader.post(f"/tables/customers/{customer}/delete").status_code == 403
    assert get(app, customer).name == "Ann" and backend_of(app).tables.count("customers") == 1


def test_export(app: Flask, visitor: Visitor) -> None:
    """An export has every row, with all values; a text that a spreadsheet would run is quoted in CSV."""
    assert visitor.get("/tables/orders/export.json").json == []
    notes = [FORMULAS[number % len(FORMULAS)] for number in range(1203)]
    ids = add(
        app, *[Customer(email=f"{number}@x.example", name=HOSTILE, note=note) for number, note in enumerate(notes)]
    )
    exported = visitor.get("/tables/customers/export.json")
    assert [row["_id"] for row in json.loads(exported.text)] == ids
    assert exported.headers["Content-Disposition"] == 'attachment; filename="customers.json"'
    rows = list(csv.DictReader(io.StringIO(visitor.get("/tables/customers/export.csv").text, newline="")))
    assert [row["_id"] for row in rows] == ids
    assert rows[0]["name"] == HOSTILE and [row["note"] for row in rows] == [f"'{note}" for note in notes]


def test_empty_table(visitor: Visitor, reader: Visitor) -> None:
    """An empty table says how rows get into it."""
    assert "ctx.db.insert(Customer(...)) , and so does a form" in text_of(visitor.get("/tables/customers"))
    assert "ctx.db.insert(Customer(...)) ." in text_of(reader.get("/tables/customers"))


def test_large_documents(tmp_path: Path) -> None:
    """Documents that cannot be read at once are shown one by one."""
    with opened(tmp_path, CONVEX_MAX_READ_BYTES=10_000) as app:
        add(app, *[Customer(email=f"{number}@x.example", name="Ann", note="x" * 4000) for number in range(3)])
        visitor = Visitor(app)
        response = visitor.get("/tables/customers")
        assert response.status_code == 200 and "too large to be read at once" in response.text
        assert "0@x.example" in visitor.get("/tables/customers?rows=1&order=asc").text


def test_damaged_row(app: Flask, visitor: Visitor) -> None:
    """A row that another program has damaged is named on the page, and logged."""
    (customer,) = add(app, Customer(email="a@x.example", name="Ann"))
    (order,) = add(app, Order(customer=customer, amount=1))
    backend = backend_of(app)
    table = backend.schema.tables["orders"]
    backend.engine.write(lambda write: write.update(table, order, {"tags": "[1]"}))
    response = visitor.get(f"/tables/orders/{order}")
    assert response.status_code == 500 and f"orders.tags of {order}" in text_of(response)
