"""The declarations of indexes.

Rows with equal fields are in the order of creation. Ids sort in that order, so an index ends in the id. Rows of earlier
releases, rows with the old name of a table in their ids and stored files have ids in another order. The indexes of
their tables end in the creation time and the id, and the tables have an index of creation times.
"""

from __future__ import annotations

from dataclasses import dataclass

ID_COLUMN, TIME_COLUMN = "_id", "_creation_time"
#: The name of the index of creation times. Every table has it in `with_index`, and some have it in the database.
TIME_INDEX = "by_creation_time"


@dataclass(frozen=True, slots=True)
class Unique:
    """The declaration of a unique index, as `unique` returns it."""

    fields: tuple[str, ...]


def unique(*fields: str) -> Unique:
    """Declare a unique index: no two documents may have the same values in these fields.

    Args:
        fields: Field names in order. As in SQL, documents with None in one of them do not collide. Store a value such
            as "" where even the absence of a value must be unique.
    """
    return Unique(fields)


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table.

    Attributes:
        name: Its name in `with_index`.
        fields: The declared fields. The creation time is the implicit last one.
        unique: Whether it is a constraint as well.
    """

    name: str
    fields: tuple[str, ...]
    unique: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that rows are ordered by: the fields, the creation time and the id."""
        return (*self.fields, TIME_COLUMN, ID_COLUMN)

    def stored_columns(self, *, by_time: bool) -> tuple[str, ...]:
        """Return the columns of the index in the database.

        Args:
            by_time: Whether the rows of the table are ordered by creation time, since their ids are in another order.
        """
        return self.columns if by_time else (*self.fields, ID_COLUMN)
