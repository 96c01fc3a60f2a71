"""Every shape of a read of the items' indexes."""

import itertools
from collections.abc import Iterator
from typing import Any

from flask_convex_http import between, gt, gte, lt, lte
from flask_convex_http.schema.index_ranges import Range, Segment, segments
from tests.engines.members import ITEMS

RANGES: dict[str, list[Range | None]] = {
    "text": [None, gt("a"), gte("a"), lt("a"), lte("a"), between("a", "b"), gt(None), lte(None), between(None, "a")],
    "integer": [None, gt(1), gte(1), lt(1), lte(1), between(1, 2), gt(1) & lt(5)],
}


def scans() -> Iterator[tuple[str, Segment, bool]]:
    """Yield each combination of index, equalities, range, direction and position to continue from, as a segment."""
    for index, descending in itertools.product(ITEMS.indexes.values(), (False, True)):
        kinds = [ITEMS.columns[name].type.kind for name in index.fields]
        values = [{"text": "a", "integer": 1}[kind] for kind in kinds]
        for equal in range(len(kinds) + 1):
            ranges = RANGES[kinds[equal]] if equal < len(kinds) else [None]
            lowest: list[Any] = [None if name in ITEMS.nullable else 0 for name in index.fields]
            for bounds, after in itertools.product(ranges, (None, [*values, "a"], [*lowest, "a"])):
                for start in (values[:equal], lowest[:equal]):
                    for part in segments(
                        index.stored_columns(by_time=False),
                        start,
                        bounds,
                        nullable=ITEMS.nullable,
                        descending=descending,
                        after=after,
                    ):
                        yield index.name, part, descending
        for fields, times in itertools.product((values, lowest), (gt(1.5), gte(1.5) & lt(3.0), lte(3.0))):
            for part in segments(index.columns, fields, times, nullable=ITEMS.nullable, descending=descending):
                yield index.name, part, descending
