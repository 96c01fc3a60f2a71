"""Pages of a query: what `paginate` takes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from flask_convex_http.schema.documents import Document

D = TypeVar("D", bound=Document)
#: The first letter of a journal.
_LAST, _INNER = "l", "i"


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


class PaginationOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The page that a client asks for, as Convex's clients send it in the argument `paginationOpts`.

    Attributes:
        num_items: The largest number of documents in the page, 1 or more.
        cursor: None for the first page, then the `continue_cursor` of the previous page.
        end_cursor: The `continue_cursor` that the page ends with, regardless of `num_items`, or None. A page that
            was read before keeps its end so, when documents are inserted into it.
    """

    num_items: int
    cursor: str | None = None
    end_cursor: str | None = None


class PageEnd(msgspec.Struct, frozen=True):
    """Where a page has ended.

    Attributes:
        is_last: Whether it was the last page, which grows with what is inserted behind it.
        cursor: Its `continue_cursor`.
    """

    is_last: bool
    cursor: str


class PagePin:
    """Keeps the end of the page of a live query, from one run to the next.

    Without it, a document that is inserted into a page would move others to the next page, which is another query.

    Args:
        journal: The end of the page in the last run, as text that clients send back; None before the first run.

    Attributes:
        journal: The end of the page now.
    """

    def __init__(self, journal: str | None) -> None:
        self.journal = journal
        self._is_taken = False

    def take(self) -> PageEnd | None:
        """Return where the page ends. A function has one such page, so None after the first call."""
        if self._is_taken or not self.journal:
            return None
        return PageEnd(self.journal[0] == _LAST, self.journal[1:])

    def note(self, page: Page[Any]) -> None:
        """Keep the end of a page, if it is the first one."""
        if not self._is_taken:
            self._is_taken = True
            self.journal = f"{_LAST if page.is_done else _INNER}{page.continue_cursor}"


def is_after(place: Sequence[Any], end: Sequence[Any] | None, *, descending: bool) -> bool:
    """Return whether a position in an index comes after another one.

    Args:
        place: The values of the index's columns, as they are stored.
        end: Those of the other position, or None for the start of the query.
        descending: Whether the query runs backwards.
    """
    if end is None:
        return True
    one, other = _comparable(place), _comparable(end)
    return one < other if descending else one > other


def _comparable(place: Sequence[Any]) -> list[tuple[bool, Any]]:
    """Return values of an index that Python orders as the database does: None comes first."""
    return [(value is not None, value) for value in place]
