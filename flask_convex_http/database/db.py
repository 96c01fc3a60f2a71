"""`ctx.db`: reads and writes of documents in one snapshot or transaction.

Every read and write of a function goes through the classes here.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from flask_convex_http.attributes import explain_missing
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import check_is_new, insert
from flask_convex_http.database.limits import LIMITS, Limits
from flask_convex_http.database.page_cursors import PageCursors
from flask_convex_http.database.query import Query
from flask_convex_http.database.system_reader import SystemReader
from flask_convex_http.database.versions import check_present, index_of, rank, version_fields
from flask_convex_http.engines import ReadBudget, Snapshot, Transaction
from flask_convex_http.errors import (
    ArgumentRangeError,
    ArgumentValidationError,
    DocumentNotFoundError,
    DocumentValidationError,
)
from flask_convex_http.history.as_of import AsOfSnapshot
from flask_convex_http.history.log import CommitLog, LoggedWrites, NotedChange, RowWrites
from flask_convex_http.history.reader import HistoryReader, When
from flask_convex_http.history.revisions import revisions
from flask_convex_http.history.rows import Revision
from flask_convex_http.ids import Id, table_of
from flask_convex_http.schema.documents import Document, Schema, Table

if TYPE_CHECKING:
    from flask_convex_http.schema.documents import ReplacementFor

D = TypeVar("D", bound=Document)


_READER_HINTS = dict.fromkeys(
    ("insert", "patch", "replace", "delete", "apply_if_newer"), "a query only reads; write in a mutation"
)
_WRITER_HINTS = {
    "add": "write ctx.db.insert(document)",
    "commit": "a mutation commits when it returns",
    "rollback": "a mutation rolls back when it raises",
    "update": "write ctx.db.patch(id, name=...)",
}


class DatabaseReader:
    """Reads documents from one snapshot; `ctx.db` of a query.

    Args:
        snapshot: The snapshot.
        schema: The tables.
        cursors: The cursors of the deployment, and the function whose cursors are made and accepted.
        limits: The limits of the deployment.
    """

    __slots__ = ("_budget", "_cursors", "_schema", "_snapshot")

    def __init__(
        self, snapshot: Snapshot, schema: Schema, cursors: tuple[PageCursors, str], limits: Limits = LIMITS
    ) -> None:
        self._budget = ReadBudget(limits.read_bytes)
        self._snapshot = snapshot
        self._schema = schema
        self._cursors = cursors

    @property
    def system(self) -> SystemReader:
        """The package's own tables."""
        return SystemReader(self._snapshot, self._schema, self._cursors, self._budget)

    def get(self, document_id: Id[D], /) -> D | None:
        """Return the document with this id, or None if it does not exist.

        Raises:
            ArgumentRangeError: The value is not an id of one of the application's tables.
        """
        table = self._schema.likely_table_of(document_id)
        row = None if table is None or table.system else self._snapshot.get(table, document_id)
        if row is None:
            self._table_of(document_id)  # raises for an invalid id, which no row has
            return None
        found = typing.cast("Table[D]", table)
        self._budget.take(found, row)
        return found.read(row)

    def query(self, document: type[D], /) -> Query[D]:
        """Start a query over a table.

        Args:
            document: The class of its documents.

        Returns:
            A query over the whole table in the order of creation. See `Query`.
        """
        table = self._table_for(document)
        return Query(
            self._snapshot, table, table.indexes["by_creation_time"], _cursors=self._cursors, _budget=self._budget
        )

    def as_of(self, when: When, /) -> DatabaseReader:
        """Return a reader of the documents as they were at a time, with `get` and `query` as here.

        Args:
            when: A datetime or milliseconds since the epoch, or the number of a commit. The reader shows what that
                commit had left.

        Raises:
            HistoryError: A read raises it if the log does not reach back that far, or the table is not logged.
        """
        log = HistoryReader(self._snapshot, self._schema)
        number, time = log.number_of(when)
        past = AsOfSnapshot(log, number, time, noted=self._noted, budget=self._budget)
        reader = DatabaseReader(past, self._schema, self._cursors)
        reader._budget = self._budget
        return reader

    def history(self, document_id: Id[D], /, *, limit: int | None = None) -> list[Revision[D]]:
        """Return the changes of a document, newest first, each with its commit and the document after it.

        Args:
            document_id: The id of the document, which need not exist any more.
            limit: The largest number of changes to return; None for all that are kept.

        Raises:
            ArgumentRangeError: The value is not an id of one of the application's tables.
            HistoryError: The table is not logged.
        """
        table = self._table_of(document_id)
        log = HistoryReader(self._snapshot, self._schema)
        return revisions(log, table, document_id, limit=limit, noted=self._noted, budget=self._budget)

    @property
    def _noted(self) -> Sequence[NotedChange]:
        """The changes that are not committed yet."""
        return ()

    def normalize_id(self, document: type[D], value: str) -> Id[D] | None:
        """Return the value as an id of a table, or None if it is not one.

        Args:
            document: The class of the table's documents.
            value: The value. A document with this id need not exist.
        """
        table = self._table_for(document)
        return Id(value) if table_of(value) in table.id_prefixes else None

    def _table_of(self, document_id: str) -> Table[Any]:
        if document_id is UNSET:  # type: ignore[comparison-overlap]  # the .id of a document that is not stored
            raise ArgumentValidationError("The document was not stored yet and has no id; use what insert() returned")
        table = self._schema.table_of(document_id)
        if table.system:
            raise ArgumentRangeError(
                f"{table.name} is a system table; read it with ctx.db.system", "Expected a valid id"
            )
        return table

    def _table_for(self, document: type[D]) -> Table[D]:
        table = self._schema.table_for(document)
        if table.system:
            raise ArgumentValidationError(f"{table.name} is a system table; read it with ctx.db.system")
        return table


explain_missing(DatabaseReader, "ctx.db", _READER_HINTS)


class DatabaseWriter(DatabaseReader):
    """Reads and writes documents in one transaction; `ctx.db` of a mutation. Reads see its own writes.

    Args:
        transaction: The transaction.
        schema: The tables.
        times: Assigns the creation times of inserted documents.
        cursors: The cursors of the deployment.
        limits: The limits of the deployment.
        log: The commit log of the transaction, or None.
    """

    __slots__ = ("_clock", "_limits", "_transaction", "_writes")

    def __init__(
        self,
        transaction: Transaction,
        schema: Schema,
        times: CreationTimes,
        cursors: PageCursors,
        limits: Limits = LIMITS,
        log: CommitLog | None = None,
    ) -> None:
        super().__init__(transaction, schema, (cursors, ""), limits)
        self._limits = limits
        self._transaction = transaction
        self._writes: RowWrites = transaction if log is None else LoggedWrites(transaction, log)
        self._clock = times

    def insert(self, document: D, /) -> Id[D]:
        """Store a document.

        Returns:
            The id of the document.

        Raises:
            DocumentValidationError: A value does not match its field, or the document has an id already. The message
                has the path of the value.
            UniqueConstraintError: Another document has the same values in a unique index.
        """
        return insert(self._writes, self._table_for(type(document)), document, self._clock, limits=self._limits)

    def patch(self, document_id: Id[Any], /, **fields: Any) -> None:
        """Change some fields of a document and keep the others.

        Args:
            document_id: The id of the document.
            fields: New values by field name.

        Raises:
            DocumentNotFoundError: The document does not exist.
            DocumentValidationError: A field is unknown, or a value does not match its field.
            UniqueConstraintError: Another document has the same values in a unique index.
        """
        table = self._table_of(document_id)
        self._update("patch", table, document_id, {name: table.store(name, value) for name, value in fields.items()})

    def replace(self, document_id: Id[D], document: ReplacementFor[D], /) -> None:
        """Replace all fields of a document. Its id and creation time stay.

        Args:
            document_id: The id of the document.
            document: The new document, of the same class.

        Raises:
            DocumentNotFoundError: The document does not exist.
            DocumentValidationError: A value does not match its field, or the new document belongs to another table.
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
        """Delete a document.

        Raises:
            DocumentNotFoundError: The document does not exist.
        """
        table = self._table_of(document_id)
        if not self._writes.delete(table, document_id):
            raise DocumentNotFoundError(f"delete: there is no document {document_id}")

    def apply_if_newer(self, document: D, /, *, by: str, version: str | Sequence[str]) -> Id[D] | None:
        """Insert the state of an object, or replace the stored state if this one is newer.

        Use it for events that arrive late, out of order or several times. The final state depends only on which states
        were applied, and not on their order.

        Versions compare as in an index. Text compares by code point, so "10" comes before "9". Many senders count
        whole seconds, so name a second field that tells two states of one second apart, as in
        `version=("updated_at", "revision")`. If two versions are equal, the state with the greater fields wins, in the
        order of the class. That choice is arbitrary, but always the same.

        A late event would insert a deleted document again. To prevent that, mark the document as deleted instead, and
        give the mark a version.

        Args:
            document: The new state, as for `insert`.
            by: The name of a unique index. Documents with the same values in its fields are states of one object.
            version: The field, or the fields in order, whose value grows with each state. A stored None is older than
                every value.

        Returns:
            The id of the document if it was inserted or replaced, None if the stored state is as new or newer. A
            replaced document keeps its id and creation time.

        Raises:
            RegistrationError: The index or a field of the version does not exist, the index is not unique, or a field
                of the version is stored as JSON, which has no order.
            DocumentValidationError: A value does not match its field, a field of the index or the version is None,
                or the document has an id already.
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
            return insert(self._writes, table, document, self._clock, limits=self._limits)
        as_read = table.read([known.id, known.creation_time, *row])  # normalised like the stored one, as to UTC
        if rank(table, as_read, fields) <= rank(table, known, fields):
            return None
        self._update("apply_if_newer", table, known.id, dict(zip(table.columns, row, strict=True)))
        return known.id

    @property
    def _noted(self) -> Sequence[NotedChange]:
        writes = self._writes
        return writes.log.noted if isinstance(writes, LoggedWrites) else ()

    def _update(self, verb: str, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> None:
        if changes:
            if self._limits.needs_row(table, changes):
                self._check_limits(table, document_id, changes)
            found = self._writes.update(table, document_id, changes)
        else:
            found = self._transaction.get(table, document_id) is not None
        if not found:
            raise DocumentNotFoundError(f"{verb}: there is no document {document_id}")

    def _check_limits(self, table: Table[Any], document_id: str, changes: Mapping[str, Any]) -> None:
        """Check a document as it will be after a change."""
        stored = self._transaction.get(table, document_id)
        if stored is not None:
            row = [
                *stored[:2],
                *(changes.get(name, value) for name, value in zip(table.columns, stored[2:], strict=True)),
            ]
            self._limits.check_row(table, row)


explain_missing(DatabaseWriter, "ctx.db", _WRITER_HINTS)
