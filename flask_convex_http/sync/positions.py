"""Where a snapshot is among the commits, and which rows differ between two snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from flask_convex_http.engines import Row, Snapshot


class ChangedRow(NamedTuple):
    """A row that differs between two snapshots, or may.

    Attributes:
        table: The name of its table.
        document_id: Its id.
        before: The row in the earlier snapshot, None if there was none.
        after: The row in the later snapshot, None if there is none.
    """

    table: str
    document_id: str
    before: Row | None
    after: Row | None


class Position(NamedTuple):
    """The commits that a snapshot sees.

    Attributes:
        settled: The number up to which it sees all that there will ever be.
        newest: The highest number that it sees.
        above: The numbers above the settled one that it sees.
    """

    settled: int
    newest: int
    above: frozenset[int] = frozenset()


class ChangeReader(Protocol):
    """Reads which rows have changed; see `changes.Changes`."""

    def settled(self) -> int | None:
        """Return the settled number, to be called before the snapshot is opened."""

    def position(self, snapshot: Snapshot, settled: int | None) -> Position:
        """Return the position of a snapshot."""

    def between(
        self, snapshot: Snapshot, known: Position, new: Position, watched: Callable[[str, str], bool]
    ) -> list[ChangedRow] | None:
        """Return the rows that may differ between two snapshots, or None if that is not known."""
