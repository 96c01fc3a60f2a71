"""What a table holds, as a count and a checksum that are the same on every database.

The checksum is a sum of one digest for each row, over the neutral values of the engine's port. So it depends on no
order, and a row that comes or goes changes it without the others being read. What lives here reads; it compares
nothing and knows no SQL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from flask_convex_http.engines.base import Row, Snapshot
from flask_convex_http.schema.documents import Table
from flask_convex_http.schema.index_ranges import Segment

_BYTES = 16
_MODULUS = 2 ** (8 * _BYTES)
_PROGRESS_STEP = 1000


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows of a table.

    Attributes:
        rows: How many.
        total: The sum of their digests.
    """

    rows: int = 0
    total: int = 0

    @property
    def checksum(self) -> str:
        """The sum as people see it: 32 hexadecimal digits."""
        return f"{self.total:0{2 * _BYTES}x}"

    def plus(self, digest: int) -> Contents:
        """With one row more."""
        return Contents(self.rows + 1, (self.total + digest) % _MODULUS)

    def minus(self, digest: int) -> Contents:
        """With one row less."""
        return Contents(self.rows - 1, (self.total - digest) % _MODULUS)


def neutral(table: Table[Any]) -> Callable[[Row], Row]:
    """What makes a row of a table the same from every database: some have a type for booleans, and some say 0 and 1."""
    booleans = [place for place, column in enumerate(table.columns.values(), 2) if column.type.kind == "boolean"]

    def convert(row: Row) -> Row:
        values = list(row)
        for place in booleans:
            values[place] = None if values[place] is None else bool(values[place])
        return values

    return convert


def digest_of(row: Row) -> int:
    """The digest of a neutral row."""
    return int.from_bytes(hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_BYTES).digest())


def contents_of(
    snapshot: Snapshot,
    table: Table[Any],
    counts: Callable[[Row], bool],
    progress: Callable[[int], None],
) -> Contents:
    """What a table holds, read once.

    Args:
        snapshot: The view.
        table: The table.
        counts: Whether a row counts.
        progress: Is told of rows that were read since it was told last.
    """
    convert = neutral(table)
    rows = total = read = 0
    order = Segment(table.indexes["by_creation_time"].columns)
    for read, row in enumerate(snapshot.stream(table, order, descending=False), 1):
        if counts(row):
            rows, total = rows + 1, total + digest_of(convert(row))
        if read % _PROGRESS_STEP == 0:
            progress(_PROGRESS_STEP)
    progress(read % _PROGRESS_STEP)
    return Contents(rows, total % _MODULUS)
