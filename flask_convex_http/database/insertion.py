"""Insert a document into any table, the package's own included."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UNSET

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.limits import Limits
from flask_convex_http.errors import DocumentValidationError
from flask_convex_http.history.log import RowWrites
from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, Table

D = TypeVar("D", bound=Document)


def insert(
    transaction: RowWrites,
    table: Table[D],
    document: D,
    clock: CreationTimes,
    document_id: str | None = None,
    *,
    limits: Limits | None = None,
) -> Id[D]:
    """Store a document in any table, the package's own included.

    Args:
        transaction: The transaction.
        table: The table.
        document: The document.
        clock: Assigns the creation time.
        document_id: The id of the document, or None to make one.
        limits: The limits of the document, or None for the package's own tables.

    Returns:
        The id of the document.

    Raises:
        DocumentValidationError: A value does not match its field, or the document has an id already.
        UniqueConstraintError: Another document has the same values in a unique index.
    """
    check_is_new(table, document)
    time = clock.take()
    document_id = document_id or clock.new_id(table.name, time)
    row = [document_id, time, *table.row(document)]
    if limits is not None:
        limits.check_row(table, row)
    transaction.insert(table, row)
    return Id(document_id)


def check_is_new(table: Table[D], document: D) -> None:
    """Check that a document has no id and no creation time, which `insert` assigns.

    Raises:
        DocumentValidationError: The document has one of them.
    """
    if document.id is not UNSET:  # type: ignore[comparison-overlap]
        raise DocumentValidationError(
            f"{table.name}: the document has an id already; insert a new {table.document.__name__}(...) "
            "or use replace()"
        )
    if document.creation_time is not UNSET:
        raise DocumentValidationError(f"{table.name}: insert() assigns the creation time - at `$._creationTime`")
