"""The query builder: `ctx.db.query(Item).with_index(...).order(...).take(10)`.

A builder is immutable, and reads nothing until a terminal method is called. It reads segments of an index through its
`Source`, so that the reads of a function can be recorded in one place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from flask_convex_http.errors import InvalidCursorError, NotUniqueError, QueryError
from flask_convex_http.schema.columns import TEXT_KINDS, Kind, stored_bound
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Document, Index, Table
from flask_convex_http.schema.index_ranges import Bound, Range, Segment, segments
from flask_convex_http.validation.validator import InvalidValueError

D = TypeVar("D", bound=Document)
Order = Literal["asc", "desc"]
_STORED_AS = {"real": float, "boolean": bool, "blob": bytes} | dict.fromkeys(TEXT_KINDS - {"json"}, str)


class Page(msgspec.Struct, Generic[D], frozen=True, kw_only=True, rename="camel"):
    """One page of a paginated query.

    Attributes:
        page: The documents.
        is_done: Whether this is the last page.
        continue_cursor: The `cursor` of the next page.
    """

    page: list[D]
    is_done: bool
    continue_cursor: str


class Source(Protocol):
    """The snapshot or transaction that a query reads."""

    def select(
        self, table: Table[Any], segment: Segment, *, descending: bool, limit: int | None
    ) -> list[Sequence[Any]]:
        """Return the rows of a segment, at most `limit`."""

    def stream(self, table: Table[Any], segment: Segment, *, descending: bool) -> Iterator[Sequence[Any]]:
        """Yield the rows of a segment as they are fetched."""


@dataclass(frozen=True, slots=True)
class Query(Generic[D]):
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

    def with_index(self, name: str, /, **fields: Any) -> Query[D]:
        """Read a range of an index.

        Args:
            name: The index's name in the class statement, or "by_creation_time".
            fields: Values of the first fields in order, then at most one range (`gt`, `gte`, `lt`, `lte`,
                `between`). The last field is always `creation_time`.

        Raises:
            QueryError: The index does not exist, the fields are not its first ones, or a value is of another type.
        """
        where = f"Index {self._table.name}.{name}"
        if self._indexed:
            raise QueryError(f"with_index({name!r}): the query has an index already; a query reads one")
        index = self._table.indexes.get(name)
        if index is None:
            raise QueryError(f"{where} not found; there are {', '.join(self._table.indexes)}")
        equal, bounds = self._index_values(where, index, fields)
        return replace(self, _index=index, _equal=equal, _range=bounds, _indexed=True)

    def order(self, order: Order) -> Query[D]:
        """Read in ascending ("asc", the default) or descending ("desc") order of the index.

        Raises:
            QueryError: The order is another word, or is given twice.
        """
        if order not in ("asc", "desc"):
            raise QueryError(f'order({order!r}): write order("asc") or order("desc")')
        if self._order is not None:
            raise QueryError("A query has one order; order() was called twice")
        return replace(self, _order=order)

    def filter(self, predicate: Callable[[D], object]) -> Query[D]:
        """Keep only the documents for which a Python function is true. It runs on documents that were read."""
        return replace(self, _filters=(*self._filters, predicate))

    def __iter__(self) -> Iterator[D]:
        return filter(self._keeps, self._stream(None))

    def collect(self) -> list[D]:
        """Return all documents."""
        return list(self) if self._filters else self._read(None)

    def take(self, count: int) -> list[D]:
        """Return the first documents, at most `count`.

        Raises:
            QueryError: The count is not an integer of 0 or more.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise QueryError(f"take({count!r}): the number of documents must be an integer of 0 or more")
        count = min(count, 2**62)  # the limits of SQL and of islice
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

    def paginate(self, *, num_items: int, cursor: str | None = None) -> Page[D]:
        """Return one page, with a cursor for the next one.

        Args:
            num_items: The largest number of documents in the page, 1 or more.
            cursor: None for the first page, then the `continue_cursor` of the previous page.

        Raises:
            InvalidCursorError: The cursor does not belong to this query.
            QueryError: `num_items` is not an integer of 1 or more.
        """
        if not isinstance(num_items, int) or isinstance(num_items, bool) or num_items < 1:
            raise QueryError(
                f"paginate(num_items={num_items!r}): the number of documents must be an integer of 1 or more"
            )
        after = None if cursor is None else self._position(cursor)
        page: list[D] = []
        last: D | None = None
        for document in self._stream(after):
            if len(page) == num_items:
                return Page(page=page, is_done=False, continue_cursor=self._cursor(last, after))
            if self._keeps(document):
                page.append(document)
            last = document
        return Page(page=page, is_done=True, continue_cursor=self._cursor(last, after))

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, limit: int | None) -> list[D]:
        documents: list[D] = []
        read = self._table.read
        for segment in self._segments():
            left = None if limit is None else limit - len(documents)
            if left == 0:
                break
            rows = self._source.select(self._table, segment, descending=self._order == "desc", limit=left)
            documents += [read(row) for row in rows]
        return documents

    def _stream(self, after: Sequence[Any] | None) -> Iterator[D]:
        """Yield the documents after a position, unfiltered.

        All segments are opened at once. A segment opened later would show writes made while an earlier one was read.
        """
        descending = self._order == "desc"
        rows = [self._source.stream(self._table, segment, descending=descending) for segment in self._segments(after)]
        while rows:
            yield from map(self._table.read, rows[0])
            del rows[0]

    def _segments(self, after: Sequence[Any] | None = None) -> list[Segment]:
        return segments(
            self._index.columns,
            self._equal,
            self._range,
            nullable=self._table.nullable,
            descending=self._order == "desc",
            after=after,
        )

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
            if isinstance(value, Range):
                if place < len(fields) - 1:
                    raise QueryError(f"{where}: the range of {name!r} must be the last; equalities come first")
                return tuple(equal), self._stored_range(where, name, value)
            equal.append(self._stored(where, name, value, self._stored_value))
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
            raise QueryError(f"{where}: {error.inside('.' + name)}") from None

    def _stored_value(self, name: str, value: Any) -> Any:
        return self._table.columns[name].type.store(value)

    def _stored_bound(self, name: str, value: Any) -> Any:
        return stored_bound(self._table.columns[name].type.kind, value)

    # --- cursors --------------------------------------------------------------------------------------------

    def _fingerprint(self) -> bytes:
        """Return a hash that binds a cursor to its query. Filters are code and are not part of it."""
        identity = (self._table.name, self._index.name, self._equal, repr(self._range), self._order == "desc")
        return hashlib.blake2b(msgspec.msgpack.encode(identity), digest_size=8).digest()

    def _cursor(self, last: D | None, before: Sequence[Any] | None) -> str:
        """Return the position of the last row in the index, or the start of the page if the page read no row."""
        place = self._place(last) if last is not None else before
        packed = msgspec.msgpack.encode([self._fingerprint(), place])
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def _place(self, document: D) -> list[Any]:
        fields = [self._table.store(name, getattr(document, name)) for name in self._index.fields]
        return [*fields, document.creation_time, document.id]

    def _position(self, cursor: str) -> list[Any] | None:
        try:
            packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            fingerprint, place = msgspec.msgpack.decode(packed, type=tuple[bytes, list[Any] | None])
        except (binascii.Error, msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            raise InvalidCursorError(
                "The cursor is not a pagination cursor; pass continue_cursor as it was given"
            ) from None
        if fingerprint != self._fingerprint() or not self._fits(place):
            raise InvalidCursorError("The cursor belongs to another query; start again with cursor=None")
        return place

    def _fits(self, place: list[Any] | None) -> bool:
        """Return whether the database can compare the values of a cursor, which a client may have forged."""
        if place is None:
            return True
        columns = self._index.columns
        return len(place) == len(columns) and all(map(self._fits_column, columns, place))

    def _fits_column(self, name: str, value: Any) -> bool:
        if name in (ID_COLUMN, TIME_COLUMN):
            kind: Kind = "text" if name == ID_COLUMN else "real"
        elif value is None:
            return name in self._table.nullable
        else:
            kind = self._table.columns[name].type.kind
        if kind == "integer":
            return type(value) is int and -(2**63) <= value < 2**63
        return type(value) is _STORED_AS.get(kind) and value == value


def _stored_time(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value != value:
        raise InvalidValueError("Expected a number of milliseconds since the epoch - at `$`")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
