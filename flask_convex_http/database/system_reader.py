"""`ctx.db.system`: reads of the package's own tables."""

from __future__ import annotations

from typing import TypeVar

from flask_convex_http.database.page_cursors import PageCursors
from flask_convex_http.database.query import Query
from flask_convex_http.engines import ReadBudget, Snapshot
from flask_convex_http.errors import ArgumentRangeError, ArgumentValidationError
from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, Schema
from flask_convex_http.schema.system_tables import READABLE

D = TypeVar("D", bound=Document)


class SystemReader:
    """Reads the package's own tables, such as `_storage`; `ctx.db.system`."""

    def __init__(
        self, snapshot: Snapshot, schema: Schema, cursors: tuple[PageCursors, str], budget: ReadBudget
    ) -> None:
        self._budget = budget
        self._snapshot = snapshot
        self._schema = schema
        self._cursors = cursors

    def get(self, document_id: Id[D]) -> D | None:
        """Return the document with this id, or None if it does not exist.

        Raises:
            ArgumentRangeError: The value is not an id of a readable system table.
        """
        table = self._schema.table_of(document_id)
        if table.document not in READABLE:
            raise ArgumentRangeError(_unreadable(table.document), "Expected a valid id")
        row = self._snapshot.get(table, document_id)
        if row is None:
            return None
        self._budget.take(table, row)
        document: D = table.read(row)
        return document

    def query(self, document: type[D]) -> Query[D]:
        """Start a query over a system table.

        Args:
            document: The class of its documents: `StoredFile`, `ScheduledFunction` or `WebhookDelivery`.

        Raises:
            ArgumentValidationError: The class is another one.
        """
        self._check_readable(document)
        table = self._schema.table_for(document)
        return Query(
            self._snapshot, table, table.indexes["by_creation_time"], _cursors=self._cursors, _budget=self._budget
        )

    def _check_readable(self, document: type[Document]) -> None:
        if document not in READABLE:
            raise ArgumentValidationError(_unreadable(document))


def _unreadable(document: type[Document]) -> str:
    names = ", ".join(readable.__name__ for readable in READABLE)
    return f"ctx.db.system reads {names}; {document.__name__} is read with ctx.db"
