"""The contract that every engine keeps. Each test runs once for each engine in `members.MEMBERS`."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from flask_convex_http import UniqueConstraintError
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.schema.index_ranges import Bound
from tests.engines.members import (
    ITEMS,
    increment,
    insert,
    insert_numbered,
    keys,
    price,
    price_of,
    prices_from,
    segment,
    set_price,
)

# --- rows ------------------------------------------------------------------------------------------------------


def test_insert_all(engine: Engine) -> None:
    """`insert_all` inserts all rows, and raises if one of them collides."""
    rows = [[f"k{number}", float(number), f"n{number}", number, None, None] for number in range(50)]
    engine.write(lambda transaction: transaction.insert_all(ITEMS, rows))
    engine.write(lambda transaction: transaction.insert_all(ITEMS, []))
    assert [price(engine, key) for key in ("k0", "k49")] == [0, 49]
    with pytest.raises(UniqueConstraintError):
        engine.write(lambda transaction: transaction.insert_all(ITEMS, [["new", 0.0, "n7", 0, None, None]]))
    assert price(engine, "new") is None


def test_get_returns_the_inserted_row(engine: Engine) -> None:
    """`get` returns the id, the creation time and the columns in order, and None for an unknown id."""
    row = ["z", 5.5, "Lamp", 3, None, b"\0\xff"]
    engine.write(lambda transaction: transaction.insert(ITEMS, row))
    found, unknown = engine.read(lambda snapshot: (snapshot.get(ITEMS, "z"), snapshot.get(ITEMS, "unknown")))
    assert found is not None and list(found) == row
    assert unknown is None


def test_update_and_delete_return_whether_the_row_exists(engine: Engine) -> None:
    """An update or delete of a row that does not exist returns False."""
    assert engine.write(set_price(7)) is True
    assert engine.write(set_price(7, "unknown")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "unknown")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "a")) is True
    assert price(engine) is None


def test_rows_are_counted(engine: Engine) -> None:
    """`count` returns the number of rows in a table, including writes of the same transaction."""
    insert_numbered(engine, 3)
    assert engine.read(lambda snapshot: snapshot.count(ITEMS)) == 4

    def work(transaction: Transaction) -> int:
        transaction.delete(ITEMS, "a")
        return transaction.count(ITEMS)

    assert engine.write(work) == 3


def test_the_rows_of_a_segment_are_counted_up_to_a_limit(engine: Engine) -> None:
    """`Engine.count` returns the number of rows in a segment of an index, or the limit if there are more."""
    insert_numbered(engine, 5)
    part = segment(column="price", lower=Bound(1001, True), upper=Bound(1004, False))
    assert [engine.count(ITEMS, part, limit) for limit in (0, 2, 3, 100)] == [0, 2, 3, 3]
    nothing = segment(column="price", lower=Bound(5000, False))
    assert engine.count(ITEMS, nothing, 10, timeout=5.0) == 0


def test_the_size_of_the_database_grows_with_its_rows(engine: Engine) -> None:
    """`Engine.size` returns the bytes of the tables and of the log, or None for a log that is a whole server's."""
    before = engine.size()
    rows = [[f"k{number}", float(number), "n" * 2000 + str(number), number, None, None] for number in range(200)]
    engine.write(lambda transaction: transaction.insert_all(ITEMS, rows))
    after = engine.size()
    assert after.data + (after.log or 0) > before.data + (before.log or 0) > 0
    assert (after.log is None) == (before.log is None)


def test_select_reads_a_segment_in_either_direction(engine: Engine) -> None:
    """The rows of a segment come in index order or in reverse, up to the limit."""
    insert_numbered(engine, 5)
    part = segment(column="price", lower=Bound(1001, True), upper=Bound(1004, False))

    def check(snapshot: Snapshot) -> None:
        for descending in (False, True):
            expected = ["k01", "k02", "k03"][:: -1 if descending else 1]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=None)) == expected
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=2)) == expected[:2]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=0)) == []
            assert keys(snapshot.stream(ITEMS, part, descending=descending)) == expected

    engine.read(check)


def test_segments_with_none(engine: Engine) -> None:
    """A segment can require None in a column, or exclude None from it."""
    engine.write(lambda transaction: insert(transaction, "big", 5, size="big"))

    def check(snapshot: Snapshot) -> None:
        empty = segment("by_size_price", equal=(("size", None),))
        assert keys(snapshot.select(ITEMS, empty, descending=False, limit=None)) == ["a"]
        filled = segment("by_size_price", column="size", not_none=True)
        assert keys(snapshot.select(ITEMS, filled, descending=True, limit=None)) == ["big"]

    engine.read(check)


# --- isolation -------------------------------------------------------------------------------------------------


def test_a_snapshot_does_not_change(engine: Engine, open_engine: Callable[..., Engine]) -> None:
    """A commit after the first read of a snapshot does not show in it, in this engine and in another one."""
    with engine.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 1
        engine.write(set_price(2))
        open_engine().write(set_price(3))
        assert price_of(snapshot, "a") == 1
        assert keys(snapshot.select(ITEMS, prices_from(2), descending=False, limit=None)) == []
        assert keys(snapshot.stream(ITEMS, prices_from(2), descending=False)) == []
    assert price(engine) == 3


def test_a_transaction_sees_its_own_writes(engine: Engine) -> None:
    """The reads of a transaction show its writes, and other readers see them only after the commit."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        insert(transaction, "b", 6)
        assert price_of(transaction, "a") == 5
        assert keys(transaction.select(ITEMS, prices_from(5), descending=False, limit=None)) == ["a", "b"]
        transaction.delete(ITEMS, "a")
        assert price_of(transaction, "a") is None
        assert keys(transaction.stream(ITEMS, prices_from(0), descending=False)) == ["b"]
        assert (price(engine, "a"), price(engine, "b")) == (1, None)

    engine.write(work)
    assert (price(engine, "a"), price(engine, "b")) == (None, 6)


def test_readers_do_not_wait_for_the_writer(engine: Engine, open_engine: Callable[..., Engine]) -> None:
    """While a transaction is open, readers see the state before it, in this engine and in another one."""
    other = open_engine()
    engine.write(lambda transaction: (set_price(9)(transaction), price(other), price(engine)))
    assert price(other) == 9


def test_write_returns_the_result_of_the_work(engine: Engine) -> None:
    """`write` returns the result of the work."""
    assert engine.write(lambda transaction: price_of(transaction, "a")) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_leaves_nothing_behind(engine: Engine, kind: type[BaseException]) -> None:
    """An exception of any kind that leaves the work rolls back all its writes, and the engine can be used again."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        insert(transaction, "b")
        raise kind("stop")

    with pytest.raises(kind):
        engine.write(work)
    assert (price(engine, "a"), price(engine, "b")) == (1, None)
    increment(engine, "a")
    assert price(engine) == 2


def test_a_query_reads_one_snapshot(engine: Engine) -> None:
    """All reads of a query that `read` runs show one moment, though a write commits between them."""

    def query(snapshot: Snapshot) -> list[int | None]:
        first = price_of(snapshot, "a")
        snapshot.count(ITEMS)
        engine.write(set_price((first or 0) + 10))
        return [first, price_of(snapshot, "a")]

    first, second = engine.read(query)
    assert first == second
    assert price(engine) == (first or 0) + 10


def test_read_raises_the_error_of_its_query(engine: Engine) -> None:
    """`read` raises the exception of its query, and the engine can be used again."""

    def query(snapshot: Snapshot) -> None:
        raise ValueError(price_of(snapshot, "a"))

    with pytest.raises(ValueError, match="1"):
        engine.read(query)
    assert price(engine) == 1


# --- lookups ---------------------------------------------------------------------------------------------------


def test_lookup_reads_a_unique_index(engine: Engine) -> None:
    """`lookup` returns the row that has the values, or None, with or without a timeout."""
    engine.write(lambda transaction: insert(transaction, "b", 5, name="Lamp"))
    for timeout in (None, 1.0):
        row = engine.lookup(ITEMS, {"name": "Lamp"}, timeout=timeout)
        assert row is not None and row[0] == "b"
        assert engine.lookup(ITEMS, {"name": "Desk"}, timeout=timeout) is None


def test_lookup_again_prevents_duplicates(engine: Engine) -> None:
    """A row that was inserted after a lookup is either found in the transaction, or the second insert is rejected."""

    def work(transaction: Transaction) -> str:
        row = transaction.lookup_again(ITEMS, {"name": "Lamp"})
        if row is None:
            insert(transaction, "c", name="Lamp")
        return "inserted" if row is None else str(row[0])

    assert engine.lookup(ITEMS, {"name": "Lamp"}) is None
    engine.write(lambda transaction: insert(transaction, "b", name="Lamp"))
    with suppress(UniqueConstraintError):
        assert engine.write(work) == "b"
    assert price(engine, "c") is None


def test_get_again_prevents_duplicates(engine: Engine) -> None:
    """A row that was inserted after a lookup is found by its id in the transaction, or a second insert is rejected."""

    def work(transaction: Transaction) -> str:
        row = transaction.get_again(ITEMS, "b", lambda: ["a", "c"])
        if row is None:
            insert(transaction, "b")
        return "inserted" if row is None else str(row[0])

    assert engine.lookup(ITEMS, {"_id": "b"}) is None
    engine.write(lambda transaction: insert(transaction, "b"))
    count = engine.write(lambda transaction: transaction.count(ITEMS))
    with suppress(UniqueConstraintError):
        assert engine.write(work) == "b"
    assert engine.write(lambda transaction: transaction.count(ITEMS)) == count


# --- capabilities ----------------------------------------------------------------------------------------------


def test_a_notification_wakes_a_listener(engine: Engine, open_engine: Callable[..., Engine]) -> None:
    """`notify` ends the wait of a listener of another engine on the same database, and `wake` that of its own."""
    with closing(open_engine().notifications.listen()) as listener:
        listener.wait(0)  # it may listen only from its first wait on
        listener.wait(0)
        for notify in (engine.notifications.notify, listener.wake):
            started = time.monotonic()
            notify()
            listener.wait(30)
            assert time.monotonic() < started + 20


def test_a_backup_is_restored(engine: Engine, tmp_path: Path) -> None:
    """An engine with backups restores all rows from a backup file. An engine without them has None."""
    if engine.backups is None:
        return
    engine.backups.create(tmp_path / "backup.db")
    engine.write(set_price(2))
    prepared = engine.backups.prepare_restore(tmp_path / "backup.db")
    assert prepared.rows >= 1
    assert prepared.run() is None
    assert price(engine) == 1
