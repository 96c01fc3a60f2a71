"""`ctx.db`: reading and writing documents inside one transaction.

Everything a function reads and writes goes through the two classes here. What lives here knows documents and
tables; rows become SQL in `engines/`.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET

from flask_convex_http.database.query import Query
from flask_convex_http.database.versions import check_present, index_of, rank, version_fields
from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.errors import ArgumentValidationError, DocumentNotFoundError, DocumentValidationError
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.schema.documents import Document, Schema, Table
from flask_convex_http.schema.system_tables import READABLE

D = TypeVar("D", bound=Document)


#: Milliseconds within which two transactions count as made at the same time; a clock set back is believed.
_SAME_TIME = 1.0


class SystemReader:
    """Reads the system's tables, such as `_storage`."""

    def __init__(self, snapshot: Snapshot, schema: Schema) -> None:
        self._snapshot = snapshot
        self._schema = schema

    def get(self, document_id: Id[D]) -> D | None:
        """The document of an id, or None if it does not exist."""
        table = self._schema.table_of(document_id)
        self._check_readable(table.document)
        row = self._snapshot.get(table, document_id)
        return None if row is None else table.read(row)

    def query(self, document: type[D]) -> Query[D]:
        """Start a query over a system table."""
        self._check_readable(document)
        table = self._schema.table_for(document)
        return Query(self._snapshot, table, table.indexes["by_creation_time"])

    def _check_readable(self, document: type[Document]) -> None:
        if document not in READABLE:
            names = ", ".join(readable.__name__ for readable in READABLE)
            raise ArgumentValidationError(f"ctx.db.system reads {names}; {document.__name__} is read with ctx.db")


class DatabaseReader:
    """Reads documents from one snapshot."""

    __slots__ = ("_schema", "_snapshot")

    def __init__(self, snapshot: Snapshot, schema: Schema) -> None:
        self._snapshot = snapshot
        self._schema = schema

    @property
    def system(self) -> SystemReader:
        """The system's tables."""
        return SystemReader(self._snapshot, self._schema)

    def get(self, document_id: Id[D], /) -> D | None:
        """The document of an id, or None if it does not exist (any more).

        Raises:
            ArgumentValidationError: The value is not an id of a table of the schema.
        """
        table = self._schema.likely_table_of(document_id)
        row = None if table is None or table.system else self._snapshot.get(table, document_id)
        if row is None:
            self._table_of(document_id)  # only what was not found can be no id at all
            return None
        return typing.cast("Table[D]", table).read(row)

    def query(self, document: type[D], /) -> Query[D]:
        """Start a query over the documents of a class."""
        table = self._table_for(document)
        return Query(self._snapshot, table, table.indexes["by_creation_time"])

    def normalize_id(self, document: type[D], value: str) -> Id[D] | None:
        """The value as an id of a class's table, or None if it is not one. It need not exist."""
        table = self._table_for(document)
        return Id(value) if table_of(value) == table.name else None

    def _table_of(self, document_id: str) -> Table[Any]:
        if document_id is UNSET:  # type: ignore[comparison-overlap]  # what .id is before a document is stored
            raise ArgumentValidationError("The document was not stored yet and has no id; use what insert() returned")
        table = self._schema.table_of(document_id)
        if table.system:
            raise ArgumentValidationError(f"{table.name} is a system table; read it with ctx.db.system")
        return table

    def _table_for(self, document: type[D]) -> Table[D]:
        table = self._schema.table_for(document)
        if table.system:
            raise ArgumentValidationError(f"{table.name} is a system table; read it with ctx.db.system")
        return table


class DatabaseWriter(DatabaseReader):
    """Reads and writes documents in one transaction; reads see its own writes.

    Args:
        times: The creation times of what it inserts.
    """

    __slots__ = ("_clock", "_transaction")

    def __init__(self, transaction: Transaction, schema: Schema, times: CreationTimes) -> None:
        super().__init__(transaction, schema)
        self._transaction = transaction
        self._clock = times

    def insert(self, document: D, /) -> Id[D]:
        """Store a document and answer its id.

        Raises:
            DocumentValidationError: A value does not match its field; the message has its path.
            UniqueConstraintError: Another document has the same values in a unique index.
        """
        return insert(self._transaction, self._table_for(type(document)), document, self._clock)

    def patch(self, document_id: Id[Any], /, **fields: Any) -> None:
        """Change some fields of a document and leave the others.

        Raises:
            DocumentNotFoundError: It does not exist.
            DocumentValidationError: A field is unknown or a value does not match.
            UniqueConstraintError: Another document has the same values in a unique index.
        """
        table = self._table_of(document_id)
        self._update("patch", table, document_id, {name: table.store(name, value) for name, value in fields.items()})

    def replace(self, document_id: Id[D], document: D, /) -> None:
        """Give a document new values in all fields; its id and creation time stay.

        Raises:
            DocumentNotFoundError: It does not exist.
            DocumentValidationError: A value does not match, or the document is of another table.
            UniqueConstraintError: Another document has the same values in a unique index.
        """
        table = self._table_of(document_id)
        if type(document) is not table.document:
            raise DocumentValidationError(
                f"replace() was given a {type(document).__name__} for an id of {table.name}; "
                f"it takes a {table.document.__name__}"
            )
        if document.id is not UNSET and document.id != document_id:  # type: ignore[comparison-overlap]
            raise DocumentValidationError(f"{table.name}: the document given to replace() has another id - at `$._id`")
        self._update("replace", table, document_id, dict(zip(table.columns, table.row(document), strict=True)))

    def delete(self, document_id: Id[Any], /) -> None:
        """Remove a document.

        Raises:
            DocumentNotFoundError: It does not exist.
        """
        table = self._table_of(document_id)
        if not self._transaction.delete(table, document_id):
            raise DocumentNotFoundError(f"delete: there is no document {document_id}")

    def apply_if_newer(self, document: D, /, *, by: str, version: str | Sequence[str]) -> Id[D] | None:
        """Make a document what is stored of a thing, unless what is stored is as new or newer.

        For events that come late, in any order and more than once: which state is left at the end depends on the
        states alone. Of two with equal versions the one with the greater values is kept, field by field in the
        class's order (as an index orders them; what is stored as JSON by its text with sorted keys). That is
        arbitrary, and senders often count whole seconds: if another field says which of two in one second is the
        later one, name it as well, as in `version=("updated_at", "revision")`.

        A deletion that a late event must not undo has to leave a row that says so, with its own version or in a
        table of its own, since of what is gone nothing is known to be older. Text compares by code point: "10" is
        before "9".

        Args:
            document: The new state, as one would give it to `insert`.
            by: A unique index; the stored document with the same values in its fields is the same thing.
            version: The field, or the fields in order, that grow with each state. What was stored with None there,
                before the field existed, is older than everything.

        Returns:
            The id if the document was inserted, or has replaced what was stored (whose id and creation time stay);
            None if nothing was changed.

        Raises:
            RegistrationError: There is no such index or field, the index is not unique, or the field has no order.
            DocumentValidationError: A value does not match its field, a field of the index or the version is None,
                or the document was stored before.
            UniqueConstraintError: Another document has the same values in another unique index.
        """
        table = self._table_for(type(document))
        index, fields = index_of(table, by), version_fields(table, version)
        check_is_new(table, document)
        row = table.row(document)
        check_present(table, document, index.fields, "tell which document it is")
        check_present(table, document, fields, "compare versions")
        same = {name: getattr(document, name) for name in index.fields}
        known = Query(self._snapshot, table, index).with_index(by, **same).unique()
        if known is None:
            return insert(self._transaction, table, document, self._clock)
        as_read = table.read([known.id, known.creation_time, *row])  # in UTC, say: as the stored one is
        if rank(table, as_read, fields) <= rank(table, known, fields):
            return None
        self._update("apply_if_newer", table, known.id, dict(zip(table.columns, row, strict=True)))
        return known.id

    def _update(self, verb: str, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> None:
        if changes:
            found = self._transaction.update(table, document_id, changes)
        else:
            found = self._transaction.get(table, document_id) is not None
        if not found:
            raise DocumentNotFoundError(f"{verb}: there is no document {document_id}")


class CreationTimes:
    """The creation times of a process's transactions: the time of each, then the next larger numbers.

    Args:
        now: The time of the first one, in milliseconds since the epoch.
    """

    def __init__(self, now: float = -math.inf) -> None:
        self._next = now

    def begin(self, now: float) -> None:
        """Start a transaction; one at the very time of the one before goes on after it, so that order is kept."""
        if not now <= self._next < now + _SAME_TIME:
            self._next = now

    def take(self) -> float:
        """The next creation time."""
        time, self._next = self._next, math.nextafter(self._next, math.inf)
        return time


def insert(
    transaction: Transaction, table: Table[D], document: D, clock: CreationTimes, document_id: str | None = None
) -> Id[D]:
    """Store a document in any table, the system's own included."""
    check_is_new(table, document)
    time = clock.take()
    document_id = document_id or new_id(table.name, time)
    transaction.insert(table, [document_id, time, *table.row(document)])
    return Id(document_id)


def check_is_new(table: Table[D], document: D) -> None:
    """Check that a document has nothing that the system gives.

    Raises:
        DocumentValidationError: It has an id or a creation time.
    """
    if document.id is not UNSET:  # type: ignore[comparison-overlap]
        raise DocumentValidationError(
            f"{table.name}: the document has an id already; insert a new {table.document.__name__}(...) "
            "or use replace()"
        )
    if document.creation_time is not UNSET:
        raise DocumentValidationError(f"{table.name}: the system gives the creation time - at `$._creationTime`")
