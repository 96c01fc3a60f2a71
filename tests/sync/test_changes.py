"""Changed rows from the commit log: as they were, for values of every kind."""

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from flask_convex_http import Document, gte
from flask_convex_http.database.db import DatabaseReader
from flask_convex_http.sync.changes import Changes
from flask_convex_http.sync.positions import ChangedRow
from flask_convex_http.sync.range_index import RangeIndex
from flask_convex_http.sync.read_sets import RecordingSnapshot
from tests.databases import EACH_ENGINE
from tests.deployment import Deployment, deployed

pytestmark = EACH_ENGINE

#: For each field of `Sample` two values, the lower one first.
VALUES: dict[str, tuple[Any, Any]] = {
    "flag": (False, True),
    "count": (1, 2**60),
    "amount": (-0.5, 1e300),
    "text": ("", "é"),
    "at": (datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC), datetime.datetime(2026, 12, 2, tzinfo=datetime.UTC)),
    "day": (datetime.date(2026, 12, 1), datetime.date(2026, 12, 2)),
    "key": (uuid.UUID(int=1), uuid.UUID(int=2)),
    "price": (Decimal("1.10"), Decimal("22.5")),
    "data": (b"\x00", b"\xff"),
}


class Sample(Document, table="samples", indexes={f"by_{name}": [name] for name in VALUES}):
    flag: bool | None = None
    count: int | None = None
    amount: float | None = None
    text: str | None = None
    at: datetime.datetime | None = None
    day: datetime.date | None = None
    key: uuid.UUID | None = None
    price: Decimal | None = None
    data: bytes | None = None
    tags: list[str] = []


@pytest.fixture(name="deployment", scope="module")
def _deployment(each_engine: str) -> Iterator[Deployment]:
    with deployed(Sample) as deployment:
        yield deployment


def changed_rows(deployment: Deployment, body: Any) -> list[ChangedRow]:
    """Return the rows that differ after a write."""
    backend = deployment.backend
    changes = Changes(backend.engine, backend.schema)
    settled = changes.settled()
    with backend.engine.snapshot() as snapshot:
        known = changes.position(snapshot, settled)
    body()
    settled = changes.settled()
    with backend.engine.snapshot() as snapshot:
        rows = changes.between(snapshot, known, changes.position(snapshot, settled), lambda table, row_id: True)
    assert rows is not None
    return rows


def row(deployment: Deployment, document_id: Any) -> Any:
    """Return a row, or None."""
    with deployment.backend.engine.snapshot() as snapshot:
        return snapshot.get(deployment.backend.schema.table_for(Sample), document_id)


def as_list(found: Any) -> list[Any] | None:
    """Return a row as a list."""
    return None if found is None else list(found)


def test_rows_are_as_they_were(deployment: Deployment) -> None:
    """Of several changes of a document, its row before the first one and after the last one is known."""
    low = {name: values[0] for name, values in VALUES.items()}
    high = {name: values[1] for name, values in VALUES.items()}
    [first, second] = deployment.add(Sample(**low, tags=["a"]), Sample(**low))
    before = [row(deployment, document_id) for document_id in (first, second)]

    def change() -> None:
        deployment.write(lambda db: db.patch(first, **high, tags=[]))
        deployment.write(lambda db: db.patch(first, text=None))
        deployment.write(lambda db: db.delete(second))

    changed = {each.document_id: each for each in changed_rows(deployment, change)}
    assert as_list(changed[first].before) == as_list(before[0])
    assert as_list(changed[first].after) == as_list(row(deployment, first))
    assert as_list(changed[second].before) == as_list(before[1])
    assert changed[second].after is None


def test_a_document_that_came_and_went_was_not_there(deployment: Deployment) -> None:
    """A document that was inserted and deleted in between has no row before and after."""

    def change() -> None:
        [document_id] = deployment.add(Sample(count=1))
        deployment.write(lambda db: db.delete(document_id))

    [changed] = changed_rows(deployment, change)
    assert (changed.before, changed.after) == (None, None)


@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_kind_are_found(deployment: Deployment, name: str) -> None:
    """A query by equality or range is found for a row that enters or leaves it, with a value of each kind."""
    low, high = VALUES[name]
    backend = deployment.backend
    index: RangeIndex[str] = RangeIndex()
    for key, value in (("low", low), ("high", high), ("range", gte(high))):
        with backend.engine.snapshot() as snapshot:
            recording = RecordingSnapshot(snapshot)
            db = DatabaseReader(recording, backend.schema, (backend.runtime.cursors, ""))
            db.query(Sample).with_index(f"by_{name}", **{name: value}).collect()
        index.add(key, recording.read_set())
    [document_id] = deployment.add(Sample(**{name: low}))
    [changed] = changed_rows(deployment, lambda: deployment.write(lambda db: db.patch(document_id, **{name: high})))
    assert index.concerned(*changed) == {"low", "high", "range"}
    [gone] = changed_rows(deployment, lambda: deployment.write(lambda db: db.delete(document_id)))
    assert index.concerned(*gone) == {"high", "range"}
