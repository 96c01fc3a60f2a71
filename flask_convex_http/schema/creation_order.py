"""Whether the ids of a table sort in the order of creation, so that the primary key gives the order.

Ids of this release do. Ids of the first releases have the milliseconds only, so two rows of one millisecond may be in
another order. Ids with an old name of the table sort before or behind all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flask_convex_http.ids import has_time, table_of
from flask_convex_http.schema.migration_steps import Migration

#: Is called with the number of rows that were looked at since the last call.
Advance = Callable[[int], None]
#: The number of rows between two calls of it.
_STEP = 10_000


def ids_are_in_order(migration: Migration, name: str, table: str, advance: Advance) -> bool:
    """Return whether the ids of a table sort in the order of creation.

    Args:
        migration: The database.
        name: The name that the table has in it.
        table: The name that all ids must begin with.
        advance: Is called as rows are read.
    """
    before = ""
    for document_id, creation_time in _counted(migration.creation_times(name), advance):
        if document_id <= before or table_of(document_id) != table or not has_time(document_id, creation_time):
            return False
        before = document_id
    return True


def _counted(rows: Iterable[tuple[str, float]], advance: Advance) -> Iterator[tuple[str, float]]:
    count = 0
    for count, row in enumerate(rows, start=1):
        yield row
        if count % _STEP == 0:
            advance(_STEP)
    advance(count % _STEP)
