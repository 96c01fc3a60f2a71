"""The engines that the contract tests run on, and the table that they use.

A new engine is one more entry of `MEMBERS`.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http import Document, Schema, unique
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.schema.index_ranges import Bound, Segment
from flask_convex_http.schema.migrations import plan
from flask_convex_http.schema.system_tables import DOCUMENTS
from tests.databases import folder_config


class Item(
    Document,
    table="items",
    indexes={"by_name": unique("name"), "by_price": ["price"], "by_size_price": ["size", "price"]},
):
    name: str | None = None
    price: int = 0
    size: str | None = None
    note: bytes | None = None


SCHEMA = Schema(Item).extended(DOCUMENTS)
ITEMS = SCHEMA.table_for(Item)


def _sqlite(folder: Path, schema: Schema = SCHEMA, **options: Any) -> Engine:
    return SQLiteEngine(folder / "contract.db", schema, **options)


def _postgres(folder: Path, schema: Schema = SCHEMA, *, writer_timeout: float = 10.0, **options: Any) -> Engine:
    """Open the database that belongs to the folder. All tests of a process share one server."""
    url = folder_config(folder)["CONVEX_DATABASE_URL"]
    return PostgresEngine(url, schema, timeout=writer_timeout, **options)


MEMBERS: dict[str, Callable[..., Engine]] = {"sqlite": _sqlite, "postgres": _postgres}


def migrate(engine: Engine) -> None:
    """Create the tables."""
    engine.migrate(lambda migration: plan(SCHEMA, migration), dry_run=False)


def insert(transaction: Transaction, key: str, price: int = 0, **fields: Any) -> None:
    """Insert an item with this id."""
    transaction.insert(ITEMS, [key, float(len(key)), *ITEMS.row(Item(price=price, **fields))])


def insert_all(engine: Engine, *keys: str, price: int = 0) -> None:
    """Insert items with these ids."""

    def work(transaction: Transaction) -> None:
        for key in keys:
            insert(transaction, key, price)

    engine.write(work)


def insert_numbered(engine: Engine, count: int) -> None:
    """Insert items "k00", "k01" and so on, with the prices 1000, 1001 and so on."""

    def work(transaction: Transaction) -> None:
        for number in range(count):
            insert(transaction, f"k{number:02}", 1000 + number)

    engine.write(work)


def price_of(snapshot: Snapshot, key: str) -> int | None:
    """Return the price of an item, or None if it does not exist."""
    row = snapshot.get(ITEMS, key)
    return None if row is None else int(row[3])


def segment(index: str = "by_price", **options: Any) -> Segment:
    """Return a segment of an index of the items, by default all of it."""
    return Segment(ITEMS.indexes[index].columns, **options)


def prices_from(number: int) -> Segment:
    """Return the segment of the items with at least this price, by price."""
    return segment(column="price", lower=Bound(number, True))


def keys(rows: Sequence[Any] | Any) -> list[str]:
    """Return the ids of rows."""
    return [row[0] for row in rows]


def price(engine: Engine, key: str = "a") -> int | None:
    """Return the price of an item, read on a snapshot of its own."""
    with engine.snapshot() as snapshot:
        return price_of(snapshot, key)


def set_price(number: int, key: str = "a") -> Callable[[Transaction], bool]:
    """Return work that sets the price of an item."""
    return lambda transaction: transaction.update(ITEMS, key, {"price": number})


def increment(engine: Engine, key: str) -> None:
    """Increment the price of an item by one, in a transaction of its own."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, key, {"price": (price_of(transaction, key) or 0) + 1})

    engine.write(work)


def increment_often(member: str, folder: Path, key: str, times: int, gate: Path) -> None:
    """Increment the price of an item many times, once the gate file exists. Runs in a process of its own."""
    with closing(MEMBERS[member](folder)) as engine:
        while not gate.exists():
            time.sleep(0.005)
        for _ in range(times):
            increment(engine, key)


def in_child(body: Callable[[], Any]) -> Any:
    """Return the result of a body that runs in a child made by fork(), or its error as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = body()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        result = json.load(pipe)
    os.waitpid(child, 0)
    return result
