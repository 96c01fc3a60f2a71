"""Reads through `ctx.run_query` against `sqlite3` by hand, on the same file: `python -m benchmarks.reads`."""

import sqlite3
import tempfile
from pathlib import Path

from benchmarks.harness import Row, alternate, print_table, row
from flask_convex_http import (
    Document,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    between,
    internal_mutation,
    query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings

#: The highest acceptable ratios to reads by hand.
ONE_TARGET, HUNDRED_TARGET = 4.0, 2.0
_COLUMNS = '"_id", "_creation_time", "name", "description", "price"'


class Item(Document, table="items", indexes={"by_price": ["price"]}):
    name: str
    description: str | None
    price: float


@internal_mutation
def fill(ctx: MutationCtx, *, count: int) -> list[Id[Item]]:
    return [
        ctx.db.insert(Item(name=f"Item {number}", description="Made of wood", price=float(number)))
        for number in range(count)
    ]


@query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


@query
def in_range(ctx: QueryCtx, *, lower: float, upper: float) -> list[Item]:
    return ctx.db.query(Item).with_index("by_price", price=between(lower, upper)).collect()


def measure() -> list[Row]:
    """Measure one document by id, and a hundred by an index range."""
    with tempfile.TemporaryDirectory() as folder:
        backend = Backend(Settings(), Schema(Item), [fill, get, in_range], folder=Path(folder))
        backend.migrate()
        connection = sqlite3.connect(Path(folder, "convex.db"), isolation_level=None)
        rows = _measure(backend, connection)
        connection.close()
        backend.close()
    return rows


def _measure(backend: Backend, connection: sqlite3.Connection) -> list[Row]:
    ctx = backend.ctx()
    some_id = ctx.run_mutation(fill, count=1000)[500]
    by_id = f'SELECT {_COLUMNS} FROM "items" WHERE "_id" = ?'
    by_price = (
        f'SELECT {_COLUMNS} FROM "items" WHERE "price" >= ? AND "price" <= ? ORDER BY "price", "_creation_time", "_id"'
    )

    def one_by_hand() -> object:
        return connection.execute(by_id, (some_id,)).fetchone()

    def hundred_by_hand() -> list[Item]:
        found = connection.execute(by_price, (200.0, 299.0)).fetchall()
        return [
            Item(id=row[0], creation_time=row[1], name=row[2], description=row[3], price=row[4])  # type: ignore[call-arg]
            for row in found
        ]

    def hundred() -> list[Item]:
        return ctx.run_query(in_range, lower=200.0, upper=299.0)

    assert hundred() == hundred_by_hand()
    assert len(hundred()) == 100
    return [
        row("one document by id", alternate(lambda: ctx.run_query(get, id=some_id), one_by_hand), ONE_TARGET),
        row("100 documents by an index range", alternate(hundred, hundred_by_hand), HUNDRED_TARGET),
    ]


if __name__ == "__main__":
    print_table("Reads", measure())
