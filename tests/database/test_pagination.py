"""Pagination: ordered pages during inserts and deletes, and hostile cursors."""

import base64
import datetime
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_convex_http import Document, InvalidCursorError, Page, PaginationOptions, between, gte, lt, lte
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.database.query import Query
from flask_convex_http.schema.index_ranges import Range
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.deployment import Deployment, deployed
from tests.lengths import SAMPLED, examples
from tests.versions import thing

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Event(
    Document,
    table="events",
    indexes={"by_size_price": ["size", "price"], "by_at_raw": ["at", "raw", "flag"]},
):
    size: str | None = None
    price: float | None = None
    number: int = 0
    at: datetime.datetime | None = None
    raw: bytes = b""
    flag: bool = False


class Other(Document, table="others", indexes={"by_size_price": ["size", "price"]}):
    size: str | None = None
    price: float | None = None


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Event, Other) as app:
        yield app


def clear(app: Deployment) -> None:
    def work(db: DatabaseWriter) -> None:
        for event in db.query(Event):
            db.delete(event.id)

    app.write(work)


def remove(app: Deployment, event_id: Any) -> None:
    app.write(lambda db: db.delete(event_id))


def page(app: Deployment, cursor: str | None, num_items: int = 2, **options: Any) -> Page[Event]:
    return app.read(lambda db: ask(db, **options).paginate(num_items=num_items, cursor=cursor))


def ask(
    db: DatabaseReader,
    size: Any = None,
    price: Range | None = None,
    order: Literal["asc", "desc"] = "asc",
    modulo: int = 1,
    index: bool = True,
) -> Query[Event]:
    query = db.query(Event).order(order)
    if index:
        fields = ({"size": size} if size is not None else {}) | (
            {"price": price} if isinstance(size, str) and price else {}
        )
        query = query.with_index("by_size_price", **fields)
    return query if modulo == 1 else query.filter(lambda event: event.number % modulo == 0)


sizes = st.none() | st.sampled_from(["s", "m", "\U0001f600"])
prices = st.none() | st.sampled_from([-1.0, 0.0, 1.5, float("inf")])
events = st.builds(Event, size=sizes, price=prices, number=st.integers(0, 5))
options = st.fixed_dictionaries(
    {
        "size": st.none() | st.sampled_from(["s", lte("m"), gte(None), lt("s"), between(None, "n")]),
        "price": st.sampled_from([None, gte(0.0), lt(1.5), between(None, 0.0)]),
        "order": st.sampled_from(["asc", "desc"]),
        "modulo": st.sampled_from([1, 2, 5]),
        "index": st.booleans(),
    }
)
changes = st.lists(st.tuples(st.booleans(), st.integers(0, 20), events), max_size=3)


@SAMPLED
@settings(max_examples=examples(100), deadline=None)
@given(rows=st.lists(events, max_size=12), num_items=st.integers(1, 5), chosen=options)
def test_pages_are_the_query_in_pieces(
    app: Deployment, rows: list[Event], num_items: int, chosen: dict[str, Any]
) -> None:
    """The pages together equal collect(), and each page but the last is full."""
    clear(app)
    app.add(*rows)
    seen: list[Any] = []
    cursor = None
    while True:
        found = page(app, cursor, num_items, **chosen)
        seen += found.page
        cursor = found.continue_cursor
        if found.is_done:
            break
        assert len(found.page) == num_items
    assert seen == app.read(lambda db: ask(db, **chosen).collect())
    assert page(app, cursor, num_items, **chosen) == Page(page=[], is_done=True, continue_cursor=cursor)


@SAMPLED
@settings(max_examples=examples(100), deadline=None)
@given(
    rows=st.lists(events, min_size=3, max_size=10),
    num_items=st.integers(1, 3),
    chosen=options,
    meanwhile=st.lists(changes, max_size=8),
)
def test_pages_while_documents_come_and_go(
    app: Deployment, rows: list[Event], num_items: int, chosen: dict[str, Any], meanwhile: list[Any]
) -> None:
    """During inserts and deletes between pages, no document appears twice and no remaining one is left out."""
    clear(app)
    staying = set(app.add(*rows))
    seen: list[str] = []
    cursor, is_done = None, False
    while not is_done:
        found = page(app, cursor, num_items, **chosen)
        seen += [event.id for event in found.page]
        cursor, is_done = found.continue_cursor, found.is_done
        for removes, place, event in meanwhile.pop() if meanwhile else ():
            if removes and staying:
                gone = sorted(staying)[place % len(staying)]
                remove(app, gone)
                staying.remove(gone)
            else:
                app.add(event)
    assert len(seen) == len(set(seen))
    matching = {event.id for event in app.read(lambda db: ask(db, **chosen).collect())}
    assert staying & matching <= set(seen)


def test_a_cursor_outlives_its_document(app: Deployment) -> None:
    """The next page starts after the position of a document that was deleted or moved."""
    clear(app)
    ids = app.add(*[Event(size="s", price=float(price)) for price in range(6)])
    first = page(app, None)
    app.write(lambda db: db.delete(ids[1]))
    app.write(lambda db: db.patch(ids[0], price=9.0))
    app.write(lambda db: db.delete(ids[2]))
    assert [event.price for event in page(app, first.continue_cursor, 9).page] == [3.0, 4.0, 5.0, 9.0]


def test_an_empty_query_has_a_cursor_too(app: Deployment) -> None:
    """The cursor of an empty page is the start of the query: later inserts come after it."""
    clear(app)
    empty = page(app, None)
    assert (empty.page, empty.is_done) == ([], True)
    app.add(Event(size="s"))
    assert len(page(app, empty.continue_cursor).page) == 1


def test_a_page_at_the_exact_end_is_the_last(app: Deployment) -> None:
    """A full page without a document after it is the last page."""
    clear(app)
    app.add(Event(), Event())
    assert page(app, None, 2).is_done
    assert not page(app, None, 1).is_done


def test_a_page_in_json(app: Deployment) -> None:
    """A page is JSON with Convex's names."""
    clear(app)
    assert msgspec.to_builtins(page(app, None)).keys() == {"page", "isDone", "continueCursor"}


def test_every_kind_of_value_can_be_in_a_cursor(app: Deployment) -> None:
    """Pages continue after datetimes, bytes, booleans, infinities and None."""
    clear(app)
    app.add(
        *[
            Event(at=at, raw=raw, flag=flag)
            for at in (None, datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC))
            for raw in (b"", b"\0\xff")
            for flag in (False, True)
        ]
    )

    def look(db: DatabaseReader, order: Literal["asc", "desc"]) -> None:
        query = db.query(Event).with_index("by_at_raw").order(order)
        seen: list[Event] = []
        cursor = None
        for number in range(8):
            found = query.paginate(num_items=1, cursor=cursor)
            seen, cursor = [*seen, *found.page], found.continue_cursor
            assert found.is_done == (number == 7)
        assert seen == query.collect()

    app.read(lambda db: look(db, "asc"))
    app.read(lambda db: look(db, "desc"))


# --- cursors that are none ---------------------------------------------------------------------------------------


def refused_or_page(app: Deployment, cursor: Any) -> bool:
    """Return whether a cursor was refused; an error other than InvalidCursorError is raised."""
    try:
        page(app, cursor)
    except InvalidCursorError:
        return True
    return False


@SAMPLED
@settings(max_examples=examples(200), deadline=None)
@given(cursor=st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@example("")
@example("=")
@example("\ud800")
@example("ü" * 5)
@example("A" * 1_000_000)
@example(base64.b64encode(b"\x91" * 100_000).decode())
@example(base64.b64encode(b"\x92\xc4\x08abcdefgh\xdd\xff\xff\xff\xff").decode())
@example(base64.b64encode(b"\x92\xc4\x08abcdefgh\x91\xd6\xff\xff\xff\xff\xff").decode())
def test_what_is_no_cursor_is_refused(app: Deployment, cursor: str) -> None:
    """Any text that is not a cursor is an InvalidCursorError, regardless of length and content."""
    assert refused_or_page(app, cursor)


@pytest.mark.parametrize("cursor", [5, b"abc", ["a"], {}, 1.5, True])
def test_a_cursor_is_text(app: Deployment, cursor: Any) -> None:
    """A value of another type is refused as well."""
    assert refused_or_page(app, cursor)


def test_a_cursor_cannot_be_read(app: Deployment) -> None:
    """A cursor holds neither the values of the index nor the id, and a client who knows them cannot find them in it."""
    clear(app)
    (first, _) = app.add(Event(size="ada@example.com", price=1.5), Event(size="bob@example.com"))
    cursor = page(app, None, num_items=1, size=gte("ada")).continue_cursor
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for value in (b"ada@", b"example", b"events", b"by_size_price", first.encode()[-8:], msgspec.msgpack.encode(1.5)):
        assert value not in raw
    assert page(app, cursor, num_items=1, size=gte("ada")).page[0].size == "bob@example.com"


def test_a_cursor_cannot_be_changed(app: Deployment) -> None:
    """A cursor with any changed, missing or added byte is an InvalidCursorError."""
    clear(app)
    app.add(*[Event(size="s") for _ in range(3)])
    cursor = page(app, None).continue_cursor
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    changed = [raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :] for at in range(len(raw)) for bit in (1, 128)]
    for other in (*changed, raw[:-1], raw[1:], raw + b"x", raw[:16], raw[:15], b"\0" * len(raw)):
        with pytest.raises(InvalidCursorError):
            page(app, base64.urlsafe_b64encode(other).decode())


def test_a_cursor_of_the_former_format_is_refused(app: Deployment) -> None:
    """A cursor that an older version made, MessagePack of a fingerprint and a position, is an InvalidCursorError."""
    packed = msgspec.msgpack.encode([b"8 bytes.", ["s", 1.5, 1.0, "events_" + "0" * 32]])
    with pytest.raises(InvalidCursorError, match="start again with cursor=None"):
        page(app, base64.urlsafe_b64encode(packed).decode().rstrip("="))


def test_a_cursor_of_another_deployment_is_refused(app: Deployment) -> None:
    """A cursor is sealed with the secret of its deployment, and refused by another one with the same tables."""
    clear(app)
    app.add(Event(size="s"), Event(size="s"))
    cursor = page(app, None, num_items=1).continue_cursor
    with deployed(Event, Other) as other, pytest.raises(InvalidCursorError):
        page(other, cursor)


def test_a_cursor_of_a_changed_field_is_refused() -> None:
    """A cursor is refused after the field of its index has got another type."""

    def version(kind: Any) -> Any:
        return thing(indexes={"by_size": ["size"]}, size=kind)

    def look(app: Deployment, kind: Any, cursor: str | None) -> Page[Any]:
        return app.read(lambda db: db.query(kind).with_index("by_size").paginate(num_items=1, cursor=cursor))

    as_text, as_number = version(str), version(int)
    with deployed(as_text) as before, deployed(as_number) as after:
        before.add(as_text(size="1"), as_text(size="2"))
        after.backend.runtime.cursors._signing = before.backend.signing
        with pytest.raises(InvalidCursorError):
            look(after, as_number, look(before, as_text, None).continue_cursor)


def test_a_cursor_belongs_to_its_query(app: Deployment) -> None:
    """A cursor is refused by a query of another table, index, equality, range, direction or function."""
    clear(app)
    app.add(*[Event(size="s", price=1.0) for _ in range(3)])
    cursor = page(app, None, size="s", price=gte(0.0)).continue_cursor
    assert page(app, cursor, size="s", price=gte(0.0)).page
    assert page(app, cursor, size="s", price=gte(0.0), num_items=50).page
    for changed in (
        {"size": "m", "price": gte(0.0)},
        {"size": "s", "price": gte(1.0)},
        {"size": "s", "price": lt(5.0)},
        {"size": "s"},
        {},
        {"size": "s", "price": gte(0.0), "order": "desc"},
        {"index": False},
    ):
        with pytest.raises(InvalidCursorError, match="another query"):
            page(app, cursor, **changed)
    with pytest.raises(InvalidCursorError, match="another query"):
        app.read(
            lambda db: (
                db.query(Other)
                .with_index("by_size_price", size="s", price=gte(0.0))
                .paginate(num_items=2, cursor=cursor)
            )
        )
    elsewhere = (app.backend.runtime.cursors, "shop:other_function")
    with app.backend.engine.snapshot() as snapshot, pytest.raises(InvalidCursorError, match="another query"):
        db = DatabaseReader(snapshot, app.backend.schema, elsewhere)
        ask(db, size="s", price=gte(0.0)).paginate(num_items=2, cursor=cursor)


@settings(max_examples=examples(100), deadline=None)
@given(rows=st.lists(events, max_size=8), more=st.lists(events, max_size=4), num=st.integers(1, 3), chosen=options)
def test_pages_with_an_end_keep_it(
    app: Deployment, rows: list[Event], more: list[Event], num: int, chosen: dict[str, Any]
) -> None:
    """Pages that are read again up to their end cursors have what was inserted since, each document once, in order."""
    clear(app)
    app.add(*rows)
    cursor, ends = None, []
    while not (found := page(app, cursor, num, **chosen)).is_done:
        ends.append(cursor := found.continue_cursor)
    app.add(*more)
    seen: list[Event] = []
    cursor = None
    for end in ends:
        wanted = PaginationOptions(num_items=1, cursor=cursor, end_cursor=end)
        again = app.read(lambda db, wanted=wanted: ask(db, **chosen).paginate(wanted))  # type: ignore[misc]
        assert (again.continue_cursor, again.is_done) == (end, False)
        seen += again.page
        cursor = end
    rest = page(app, cursor, 100, **chosen)
    assert rest.is_done
    assert [*seen, *rest.page] == app.read(lambda db: ask(db, **chosen).collect())
