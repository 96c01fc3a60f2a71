"""Pages of lists for people who look through a table of the package, in the order of an index."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from flask_convex_http.database.query import Query
from flask_convex_http.schema.documents import Document

D = TypeVar("D", bound=Document)


class Listing(NamedTuple, Generic[D]):
    """One page of a list for people who look through a table.

    Attributes:
        documents: The documents.
        next: The place behind which the next page begins; None at the end.
    """

    documents: list[D]
    next: list[Any] | None


def list_documents(query: Query[D], limit: int, after: Sequence[Any] | None = None) -> Listing[D]:
    """Return a page of a query of the package's own, whose places are not sealed as those of `paginate` are.

    Args:
        query: The query.
        limit: The largest number of documents.
        after: The place behind which the page begins: the stored values of the index's fields, the creation time and
            the id of a document, which need not exist any more. None for the first page.
    """
    found = list(islice(query._stream(after), limit + 1))
    return Listing(found[:limit], query._place(found[limit - 1]) if len(found) > limit else None)
