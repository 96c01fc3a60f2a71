"""Reads and writes of documents that cannot work."""

from __future__ import annotations

from flask_convex_http.errors.base import ClientValueError, ConvexHTTPError


class DocumentValidationError(ConvexHTTPError):
    """A document does not match its table: a mistake of the code that writes it."""


class UnstorableValueError(ClientValueError, DocumentValidationError):
    """A field has a value of the right type that the database cannot hold.

    Such as text with a lone surrogate, an integer of more than 64 bits, or NaN. No annotation excludes these, and they
    come from clients.
    """


class DocumentNotFoundError(ConvexHTTPError):
    """The document to change does not exist."""

    status = 404
    public = True
    client_message = "There is no such document"


class UniqueConstraintError(ConvexHTTPError):
    """Another document has the same values in a unique index."""

    status = 409
    public = True
    client_message = "Another document has the same values"


class NotUniqueError(ConvexHTTPError):
    """`unique()` found more than one document."""


class QueryError(ConvexHTTPError):
    """A query is built in a way that cannot run."""


class QueryRangeError(ClientValueError, QueryError):
    """A value given to a query has the right type and is not accepted. Such values come from clients.

    It is a number of documents that is no integer or out of range, or a value that the field of an index cannot have.
    """


class InvalidCursorError(ConvexHTTPError):
    """A pagination cursor does not belong to this query."""

    status = 400
    public = True
    client_message = "The cursor is not valid here; start again without a cursor"


class HistoryError(ConvexHTTPError):
    """The commit log does not reach back that far, or a table is not logged."""

    status = 410
    public = True
    client_message = "The history does not reach back that far"


class UndoRefusedError(ConvexHTTPError):
    """Commits cannot be undone, since a later commit has touched the same fields or the log has not all of it."""
