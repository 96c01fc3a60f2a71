"""The query builder: `ctx.db.query(Item).with_index(...).order(...).take(10)`.

A builder is immutable, and reads nothing until a terminal method is called. It reads segments of an index through its
`Source`, so that the reads of a function can be recorded in one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

import msgspec

from flask_convex_http.attributes import explain_missing
from flask_convex_http.database.page_cursors import PageCursors
from flask_convex_http.database.pages import Page as Page
from flask_convex_http.database.pages import PageEnd, PagePin, PaginationOptions, is_after
from flask_convex_http.engines import ReadBudget
from flask_convex_http.errors import InvalidCursorError, NotUniqueError, QueryError, QueryRangeError
from flask_convex_http.schema.columns import stored_bound
from flask_convex_http.schema.documents import Document, Index, Table
from flask_convex_http.schema.index_ranges import Bound, Range, Segment, segments
from flask_convex_http.validation.records import NotStorableError
from flask_convex_http.validation.validator import InvalidValueError

D = TypeVar("D", bound=Document)
Order = Literal["asc", "desc"]
#: Names that other libraries have for methods of a query.
_HINTS = {
    "all": "write collect(), or take(100) where the table grows",
    "count": "write len(query.collect()), or keep a count in a document if the table grows",
    "exists": "write query.first() is not None",
    "filter_by": 'write with_index("by_name", name=...), or filter(lambda document: ...) for a field without an index',
    "get": "write ctx.db.get(id)",
    "limit": "write take(10)",
    "offset": "write paginate(num_items=..., cursor=...)",
    "one": "write unique(), which returns the only document or None",
    "one_or_none": "write unique()",
    "order_by": 'an index gives the order: write with_index("by_name").order("desc")',
    "scalars": "write collect()",
    "where": 'write with_index("by_name", name=...), or filter(lambda document: ...) for a field without an index',
}


class Source(Protocol):
    """The snapshot or transaction that a query reads."""

    def select(
        self,
        table: Table[Any],
        segment: Segment,
        *,
        descending: bool,
        limit: int | None,
        budget: ReadBudget | None = None,
    ) -> list[Sequence[Any]]:
        """Return the rows of a segment, at most `limit`."""

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Sequence[Any]]:
        """Yield the rows of a segment as they are fetched."""

    def is_ordered_by_time(self, table: Table[Any]) -> bool:
        """Return whether the rows of a table are ordered by creation time, since their ids are in another order."""


class Query(msgspec.Struct, Generic[D], frozen=True, eq=False):  # a dataclass takes five times as long to make
    """A query over one table. It is iterable, and each builder method returns a new query.

    Without an index it reads the whole table in the order of creation.
    """

    _source: Source
    _table: Table[D]
    _index: Index
    _equal: tuple[Any, ...] = ()
    _range: Range | None = None
    _order: Order | None = None
    _filters: tuple[Callable[[D], object], ...] = ()
    _indexed: bool = False
    _cursors: tuple[PageCursors, str] | None = None
    _budget: ReadBudget | None = None

    def with_index(self, name: str, /, **fields: Any) -> Query[D]:
        """Read a range of an index.

        Args:
            name: The index's name in the class statement, or "by_creation_time".
            fields: Values of the first fields in order, then at most one range (`gt`, `gte`, `lt`, `lte`,
                `between`). The last field is always `creation_time`.

        Raises:
            QueryError: The index does not exist, the fields are not its first ones, or a value is of another type.
            QueryRangeError: A value has the type of its field, which cannot hold it.
        """
        where = f"Index {self._table.name}.{name}"
        if self._indexed:
            raise QueryError(f"with_index({name!r}): the query has an index already; a query reads one")
        index = self._table.indexes.get(name)
        if index is None:
            raise QueryError(f"{where} not found; there are {', '.join(self._table.indexes)}")
        equal, bounds = self._index_values(where, index, fields)
        return Query(
            self._source,
            self._table,
            index,
            equal,
            bounds,
            self._order,
            self._filters,
            True,
            self._cursors,
            self._budget,
        )

    def order(self, order: Order) -> Query[D]:
        """Read in ascending ("asc", the default) or descending ("desc") order of the index.

        Raises:
            QueryError: The order is another word, or is given twice.
        """
        if order not in ("asc", "desc"):
            raise QueryError(f'order({order!r}): write order("asc") or order("desc")')
        if self._order is not None:
            raise QueryError("A query has one order; order() was called twice")
        return msgspec.structs.replace(self, _order=order)

    def filter(self, predicate: Callable[[D], object]) -> Query[D]:
        """Keep only the documents for which a Python function is true. It runs on documents that were read."""
        return msgspec.structs.replace(self, _filters=(*self._filters, predicate))

    def __iter__(self) -> Iterator[D]:
        return filter(self._keeps, self._stream(None))

    def collect(self) -> list[D]:
        """Return all documents."""
        return list(self) if self._filters else self._read(None)

    def take(self, count: int) -> list[D]:
        """Return the first documents, at most `count`.

        Raises:
            QueryRangeError: The count is not an integer of 0 or more, or has more than 64 bits.
            QueryError: The count is not a number.
        """
        _check_count(count, "take(", 0)
        return list(islice(self, count)) if self._filters else self._read(count)

    def first(self) -> D | None:
        """Return the first document, or None."""
        found = self.take(1)
        return found[0] if found else None

    def unique(self) -> D | None:
        """Return the only document, or None.

        Raises:
            NotUniqueError: There is more than one.
        """
        found = self.take(2)
        if len(found) > 1:
            raise NotUniqueError(
                f"unique() found more than one document in {self._table.name}, such as {found[0].id} and {found[1].id}"
            )
        return found[0] if found else None

    @overload
    def paginate(self, options: PaginationOptions) -> Page[D]: ...
    @overload
    def paginate(self, *, num_items: int, cursor: str | None = None) -> Page[D]: ...
    def paginate(
        self, options: PaginationOptions | None = None, *, num_items: int = 0, cursor: str | None = None
    ) -> Page[D]:
        """Return one page, with a cursor for the next one.

        Args:
            options: The page that a client asks for, instead of the other arguments.
            num_items: The largest number of documents in the page, 1 or more.
            cursor: None for the first page, then the `continue_cursor` of the previous page. A cursor belongs to its
                query function, table, index, range and order. Mutations accept the cursors of other mutations.

        Raises:
            InvalidCursorError: The cursor does not belong to this query.
            QueryRangeError: `num_items` is not an integer of 1 or more, or has more than 64 bits.
            QueryError: `num_items` is not a number.
        """
        end = None
        if options is not None:
            num_items, cursor, end = options.num_items, options.cursor, options.end_cursor
        _check_count(num_items, "paginate(num_items=", 1)
        after = None if cursor is None else self._position(cursor)
        if end is not None:
            return self._page_until(end, after)
        pin: PagePin | None = getattr(self._source, "page_pin", None)
        if pin is None:
            return self._page(num_items, after)
        page = self._page_as_before(pin.take(), after) or self._page(num_items, after)
        pin.note(page)
        return page

    def _page(self, num_items: int, after: Sequence[Any] | None) -> Page[D]:
        page: list[D] = []
        last: D | None = None
        for document in self._stream(after):
            if len(page) == num_items:
                return Page(page=page, is_done=False, continue_cursor=self._cursor(last, after))
            if self._keeps(document):
                page.append(document)
            last = document
        return Page(page=page, is_done=True, continue_cursor=self._cursor(last, after))

    def _page_as_before(self, known: PageEnd | None, after: Sequence[Any] | None) -> Page[D] | None:
        """Return the page of a live query that ends where it has ended before, or None if that place is not known."""
        if known is None:
            return None
        try:
            if not known.is_last:
                return self._page_until(known.cursor, after)
            self._position(known.cursor)
        except InvalidCursorError:  # the function or its query is another one since
            return None
        documents = [document for document in self._stream(after) if self._keeps(document)]
        return Page(page=documents, is_done=True, continue_cursor=known.cursor)

    def _page_until(self, end_cursor: str, after: Sequence[Any] | None) -> Page[D]:
        """Return the page that ends where an earlier one ended."""
        end, page = self._position(end_cursor), []
        for document in self._stream(after):
            if is_after(self._place(document), end, descending=self._order == "desc"):
                break
            if self._keeps(document):
                page.append(document)
        return Page(page=page, is_done=False, continue_cursor=end_cursor)

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, limit: int | None) -> list[D]:
        documents: list[D] = []
        read = self._table.read
        for segment in self._segments():
            left = None if limit is None else limit - len(documents)
            if left == 0:
                break
            rows = self._source.select(
                self._table, segment, descending=self._order == "desc", limit=left, budget=self._budget
            )
            documents += [read(row) for row in rows]
        return documents

    def _stream(self, after: Sequence[Any] | None) -> Iterator[D]:
        """Yield the documents after a position, unfiltered.

        All segments are opened at once. A segment opened later would show writes made while an earlier one was read.
        """
        descending = self._order == "desc"
        rows = [self._source.stream(self._table, segment, descending=descending) for segment in self._segments(after)]
        while rows:
            yield from map(
                self._table.read, rows[0] if self._budget is None else self._budget.through(self._table, rows[0])
            )
            del rows[0]

    def _segments(self, after: Sequence[Any] | None = None) -> list[Segment]:
        columns = self._index.columns
        if after is not None and not self._has_time() and not self._source.is_ordered_by_time(self._table):
            columns, after = self._index.stored_columns(by_time=False), [*after[:-2], after[-1]]
        return segments(
            columns,
            self._equal,
            self._range,
            nullable=self._table.nullable,
            descending=self._order == "desc",
            after=after,
        )

    def _has_time(self) -> bool:
        """Return whether the creation time is bounded."""
        return len(self._equal) + (self._range is not None) > len(self._index.fields)

    def _keeps(self, document: D) -> bool:
        return all(predicate(document) for predicate in self._filters)

    # --- index fields ---------------------------------------------------------------------------------------

    def _index_values(self, where: str, index: Index, fields: dict[str, Any]) -> tuple[tuple[Any, ...], Range | None]:
        names = (*index.fields, "creation_time")
        equal: list[Any] = []
        for place, (name, value) in enumerate(fields.items()):
            if name not in names:
                raise QueryError(f"{where} does not have the field {name!r}; its fields are {', '.join(names)}")
            if name != names[place]:
                raise QueryError(
                    f"{where} must be used in order: after {place} fields comes {names[place]!r}, not {name!r}"
                )
            if not isinstance(value, Range):
                equal.append(self._stored(where, name, value, self._stored_value))
                continue
            if place < len(fields) - 1:
                raise QueryError(f"{where}: the range of {name!r} must be the last; equalities come first")
            return tuple(equal), self._stored_range(where, name, value)
        return tuple(equal), None

    def _stored_range(self, where: str, name: str, bounds: Range) -> Range:
        def end(bound: Bound | None) -> Bound | None:
            return bound and Bound(self._stored(where, name, bound.value, self._stored_bound), bound.inclusive)

        return Range(end(bounds.lower), end(bounds.upper))

    def _stored(self, where: str, name: str, value: Any, store: Callable[[str, Any], Any]) -> Any:
        """Return a value as the column stores it. Every field of a document may be compared with None."""
        if value is None and name != "creation_time":
            return None
        try:
            return _stored_time(value) if name == "creation_time" else store(name, value)
        except InvalidValueError as error:
            inside = error.inside("." + name)
            if inside.is_of_range:
                raise QueryRangeError(f"{where}: {inside}", inside.client_message) from None
            raise QueryError(f"{where}: {inside}") from None

    def _stored_value(self, name: str, value: Any) -> Any:
        return self._table.columns[name].type.store(value)

    def _stored_bound(self, name: str, value: Any) -> Any:
        return stored_bound(self._table.columns[name].type.kind, value)

    # --- cursors --------------------------------------------------------------------------------------------

    def _identity(self) -> bytes:
        """Return what a cursor belongs to: the function and the range that it reads. Filters are code."""
        assert self._cursors is not None  # the package's own queries have no pages
        columns = self._table.columns
        fields = [(name, columns[name].type.kind, columns[name].nullable) for name in self._index.fields]
        bounds = (self._equal, repr(self._range), self._order == "desc")
        return msgspec.msgpack.encode((self._cursors[1], self._table.name, self._index.name, fields, bounds))

    def _cursor(self, last: D | None, before: Sequence[Any] | None) -> str:
        """Return the position of the last row in the index, or the start of the page if the page read no row."""
        place = self._place(last) if last is not None else before
        assert self._cursors is not None
        return self._cursors[0].seal(self._identity(), None if place is None else list(place))

    def _place(self, document: D) -> list[Any]:
        fields = [self._table.store(name, getattr(document, name)) for name in self._index.fields]
        return [*fields, document.creation_time, document.id]

    def _position(self, cursor: str) -> list[Any] | None:
        assert self._cursors is not None
        try:
            return self._cursors[0].open(self._identity(), cursor)
        except InvalidCursorError as error:
            function, index = self._cursors[1] or "a mutation", self._index.name
            raise InvalidCursorError(f"{self._table.name}.{index} in {function}: {error}") from None


explain_missing(Query, "ctx.db.query(...)", _HINTS)


def _check_count(count: object, call: str, least: int) -> None:
    """Check a number of documents to read. Clients choose it in many applications.

    Raises:
        QueryRangeError: It is a number out of range.
        QueryError: It is no number, which no conversion of a client's text returns.
    """
    if type(count) is int and least <= count < 2**63:
        return
    expected = f"the number of documents must be an integer of {least} or more"
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise QueryError(f"{call}{count!r}): {expected}")
    is_short = isinstance(count, float) or -(2**64) < count < 2**64
    shown = repr(count) if is_short else "an integer of more than 64 bits"
    raise QueryRangeError(f"{call}{shown}): {expected}", f"T{expected[1:]}")


def _stored_time(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidValueError("Expected a number of milliseconds since the epoch - at `$`")
    if value != value:
        raise NotStorableError("Expected a number of milliseconds since the epoch, got NaN - at `$`")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
