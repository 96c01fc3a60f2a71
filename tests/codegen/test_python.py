"""Generated Python clients, which call the functions of an app in process."""

import dataclasses
import datetime
import decimal
import math
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import ConvexError, ConvexHTTP, QueryCtx, Schema, query
from flask_convex_http.codegen.python_base.encoding import encode
from tests.codegen import library
from tests.codegen.writing import imported, python
from tests.databases import temporary_config
from tests.lengths import examples

UTC = datetime.UTC


@query
def echo(ctx: QueryCtx, *, value: Any) -> Any:
    """Return a value."""
    return value


@query
def refuse(ctx: QueryCtx, *, code: int) -> None:
    """Raise an error with data."""
    raise ConvexError({"code": code, "data": b"\x01"})


@query
def crash(ctx: QueryCtx) -> None:
    """Raise an error of Python."""
    raise ZeroDivisionError("a mistake")


FUNCTIONS = (*library.functions, echo, refuse, crash)


class InProcess:
    """Sends requests to an app in this process."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.headers: Mapping[str, str] = {}

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send a request."""
        self.headers = headers
        response = self._client.post(url, data=body, headers=dict(headers))
        return response.status_code, response.data

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(name="app", scope="module")
def _app() -> Iterator[Flask]:
    """Yield the app of the library."""
    app = Flask("test_app")
    with temporary_config(library.schema) as config:
        app.config.from_mapping(config | {"CONVEX_WORKER": "off"})
        convex = ConvexHTTP(app, schema=library.schema, functions=FUNCTIONS, function_api=True)
        with app.app_context():
            convex.migrate()
        yield app
        app.extensions["convex_http"].close()


@pytest.fixture(name="module", scope="module")
def _module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield the generated module."""
    text = python(FUNCTIONS, library.schema)
    assert text == python(reversed(FUNCTIONS), Schema(library.Book, library.Reader))
    with imported(text, tmp_path_factory.mktemp("client")) as module:
        yield module


@pytest.fixture(name="client", scope="module")
def _client(app: Flask, module: Any) -> Any:
    """Return a client of the app."""
    return module.Client("http://localhost", transport=InProcess(app.test_client()))


def test_documents_and_pages(client: Any, module: Any) -> None:
    """A document is sent with its defaults left out, and received with all its fields, alone and in pages."""
    new = module.BookInput(title="Emma", price=decimal.Decimal("9.90"), barcode=b"\x00\xff")
    book_id = client.library.add_book(book=new, year=2025)
    book = client.library.get(book_id=book_id)
    assert isinstance(book, module.Book)
    assert book == module.Book(
        id=book_id,
        creation_time=book.creation_time,
        title="Emma",
        printed_on=None,
        borrowed_by=None,
        cover=None,
        copies=1,
        price=decimal.Decimal("9.90"),
        barcode=b"\x00\xff",
        shelf="hall",
        tag_names=[],
    )
    page = client.library.list_books(words=module.Filter(words=["a"]), num_items=1)
    assert page.page == [book]
    assert client.library.list_books(num_items=1, cursor=page.continue_cursor) == module.Page(
        [], True, client.library.list_books(num_items=1, cursor=page.continue_cursor).continue_cursor
    )
    readers = client.library.list_readers(pagination_opts=module.PaginationOptions(num_items=3))
    assert (readers.page, readers.is_done) == ([], True)
    assert client.library.get(book_id=module.BookId(f"books_{'0' * 32}")) is None


def test_values_of_each_type(client: Any, module: Any) -> None:
    """Arguments and results keep their types: records in records, unions, tuples, times, dicts and renamed fields."""
    leaf = module.ChapterInput(title="2")
    root, number = client.library.chapters(root=module.ChapterInput(title="1", sub_chapters=[leaf]))
    assert (number, type(number)) == (1, int)
    assert root == module.Chapter(title="1", sub_chapters=[module.Chapter(title="2", sub_chapters=[])])
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=UTC)
    times = (noon, datetime.date(2026, 1, 2), datetime.timedelta(days=-1, seconds=3, microseconds=500_000))
    assert client.library.times(datetime=times[0], day=times[1], length=times[2]) == times
    assert client.library.state(of=module.Lent(until=noon)) == module.Lent(until=noon)
    assert client.library.state(of=module.LostInput()) == module.Lost(found_again=False)
    orders = [module.Order(title="a", amounts={"some_key": 2**60})]
    sizes = client.library.order(orders=orders, size=(1.5, 2.0), ids={uuid.UUID(int=1): {"a_b": [1]}})
    assert sizes == {"hall": (1.5, 2.0)}
    renamed = module.Renamed(in_="a", content_type="b")
    assert client.library.renamed(value=renamed) == renamed
    assert client.library.boxes(one=module.BoxOfInt(content=2**60, weight=1)) == [
        module.BoxOfStr(content=str(2**60), weight=1.0)
    ]
    assert client.library.list() == [1]
    shelf_id = module.ReaderId(f"readers_{'0' * 32}")
    assert client.library.move(item=shelf_id, to="room") is None


def test_errors(client: Any, module: Any) -> None:
    """An error of the app has its data. Other errors have the message, and a wrong request its status."""
    with pytest.raises(module.ConvexError) as caught:
        client.test_python.refuse(code=2**60)
    assert caught.value.data == {"code": 2**60, "data": b"\x01"}
    with pytest.raises(module.FunctionError, match="Server Error"):
        client.test_python.crash()
    with pytest.raises(module.FunctionError, match="bookId"):
        client.library.get(book_id="nonsense")
    client.set_auth("not.a.token")
    with pytest.raises(module.ResponseError) as rejected:
        client.library.list()
    client.set_auth(None)
    assert rejected.value.status == 401


def test_headers(app: Flask, module: Any) -> None:
    """A client sends its headers, and the token or the admin key that it has."""
    transport = InProcess(app.test_client())
    with module.Client("http://localhost/", headers={"X-Trace": "1"}, transport=transport) as client:
        client.library.list()
        assert transport.headers == {"X-Trace": "1", "Content-Type": "application/json"}
    for option, header in (("token", "Bearer abc.def.ghi"), ("admin_key", "Convex abc.def.ghi")):
        client = module.Client("http://localhost", transport=transport, **{option: "abc.def.ghi"})
        with pytest.raises(module.ResponseError):
            client.library.list()
        assert transport.headers["Authorization"] == header


def test_constant_part(module: Any) -> None:
    """The generated module has everything of the constant part, and imports nothing of this package."""
    for name in ("BaseClient", "ConvexError", "Page", "RequestsTransport", "StandardTransport", "Unset"):
        assert getattr(module, name).__module__ == "app_client"
    assert "flask_convex_http" not in Path(module.__file__).read_text()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1).filter(lambda value: abs(value) > 2**53)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b_c", ""]), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
@settings(deadline=None, max_examples=examples(300))
def test_any_value(client: Any, value: Any) -> None:
    """Every value that JSON in Convex's encoding can hold comes back as it is."""
    assert same(client.test_python.echo(value=value), value)


def same(one: Any, other: Any) -> bool:
    """Return whether values are the same, where NaN is the same as NaN and 0.0 is not -0.0."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and str(one) == str(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(part, other[key]) for key, part in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def test_values_that_no_function_takes() -> None:
    """A value of another type is an error that names the type."""

    @dataclasses.dataclass
    class Own:
        value: object

    assert encode(Own({1: (2,)})) == {"value": {"1": [2]}}
    with pytest.raises(TypeError, match="object is no type of a value"):
        encode(object())
