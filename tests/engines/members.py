"""The engines that the contract is run on, and the tables it uses. A new engine is one more entry of `MEMBERS`."""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http import Document, Schema, unique
from flask_convex_http.engines.base import Engine, Snapshot, Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.migrations import plan
from flask_convex_http.schema.system_tables import DOCUMENTS
from tests.databases import in_folder


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
    """In the folder is written which database it is: the server is one for all tests of a process."""
    url = in_folder(folder)["CONVEX_DATABASE_URL"]
    return PostgresEngine(url, schema, timeout=writer_timeout, **options)


MEMBERS: dict[str, Callable[..., Engine]] = {"sqlite": _sqlite, "postgres": _postgres}


def migrate(engine: Engine) -> None:
    """Make the tables."""
    engine.migrate(lambda migration: plan(SCHEMA, migration), dry_run=False)


def insert(transaction: Transaction, key: str, price: int = 0, **fields: Any) -> None:
    """Add an item with that id."""
    transaction.insert(ITEMS, [key, float(len(key)), *ITEMS.row(Item(price=price, **fields))])


def insert_all(engine: Engine, *keys: str, price: int = 0) -> None:
    """Add items with these ids."""

    def work(transaction: Transaction) -> None:
        for key in keys:
            insert(transaction, key, price)

    engine.write(work)


def price_of(snapshot: Snapshot, key: str) -> int | None:
    """The price of an item, or None if there is none."""
    row = snapshot.get(ITEMS, key)
    return None if row is None else int(row[3])


def segment(index: str = "by_price", **options: Any) -> Segment:
    """A whole index of the items, or a part of it."""
    return Segment(ITEMS.indexes[index].columns, **options)


def keys(rows: Sequence[Any] | Any) -> list[str]:
    """The ids of rows."""
    return [row[0] for row in rows]


def price(engine: Engine, key: str = "a") -> int | None:
    """The price of an item, in a snapshot of its own."""
    with engine.snapshot() as snapshot:
        return price_of(snapshot, key)


def set_price(number: int, key: str = "a") -> Callable[[Transaction], bool]:
    """Work that gives an item a price."""
    return lambda transaction: transaction.update(ITEMS, key, {"price": number})


def increment(engine: Engine, key: str) -> None:
    """Raise an item's price by one in a transaction of its own."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, key, {"price": (price_of(transaction, key) or 0) + 1})

    engine.write(work)


def increment_often(member: str, folder: Path, key: str, times: int, gate: Path) -> None:
    """What a process of its own does, from when the gate is there."""
    with closing(MEMBERS[member](folder)) as engine:
        while not gate.exists():
            time.sleep(0.005)
        for _ in range(times):
            increment(engine, key)


def in_child(body: Callable[[], Any]) -> Any:
    """What a body answers (or the error it raises, as text) in a child made by fork()."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = body()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    return answer
