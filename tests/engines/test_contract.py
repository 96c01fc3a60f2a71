"""The contract that every engine keeps. Each test runs once for each engine in `members.MEMBERS`."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import EngineError, FunctionCallError, UniqueConstraintError
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.schema.index_ranges import Bound
from tests.engines.members import ITEMS, increment, insert, keys, price, price_of, segment, set_price


def read(engine: Engine, body: Callable[[Snapshot], Any]) -> Any:
    with engine.snapshot() as snapshot:
        return body(snapshot)


def fill(engine: Engine, count: int) -> None:
    """Insert items "k00", "k01" and so on, with the prices 1000, 1001 and so on."""

    def work(transaction: Transaction) -> None:
        for number in range(count):
            insert(transaction, f"k{number:02}", 1000 + number)

    engine.write(work)


def prices_from(number: int) -> Any:
    return segment(column="price", lower=Bound(number, True))


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
    assert list(read(engine, lambda snapshot: snapshot.get(ITEMS, "z"))) == row
    assert read(engine, lambda snapshot: snapshot.get(ITEMS, "unknown")) is None


def test_update_and_delete_return_whether_the_row_exists(engine: Engine) -> None:
    """An update or delete of a row that does not exist returns False."""
    assert engine.write(set_price(7)) is True
    assert engine.write(set_price(7, "unknown")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "unknown")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "a")) is True
    assert price(engine) is None


def test_rows_are_counted(engine: Engine) -> None:
    """`count` returns the number of rows in a table, including writes of the same transaction."""
    fill(engine, 3)
    assert read(engine, lambda snapshot: snapshot.count(ITEMS)) == 4

    def work(transaction: Transaction) -> int:
        transaction.delete(ITEMS, "a")
        return transaction.count(ITEMS)

    assert engine.write(work) == 3


def test_select_reads_a_segment_in_either_direction(engine: Engine) -> None:
    """The rows of a segment come in index order or in reverse, up to the limit."""
    fill(engine, 5)
    part = segment(column="price", lower=Bound(1001, True), upper=Bound(1004, False))

    def check(snapshot: Snapshot) -> None:
        for descending in (False, True):
            expected = ["k01", "k02", "k03"][:: -1 if descending else 1]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=None)) == expected
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=2)) == expected[:2]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=0)) == []
            assert keys(snapshot.stream(ITEMS, part, descending=descending)) == expected

    read(engine, check)


def test_segments_with_none(engine: Engine) -> None:
    """A segment can require None in a column, or exclude None from it."""
    engine.write(lambda transaction: insert(transaction, "big", 5, size="big"))

    def check(snapshot: Snapshot) -> None:
        empty = segment("by_size_price", equal=(("size", None),))
        assert keys(snapshot.select(ITEMS, empty, descending=False, limit=None)) == ["a"]
        filled = segment("by_size_price", column="size", not_none=True)
        assert keys(snapshot.select(ITEMS, filled, descending=True, limit=None)) == ["big"]

    read(engine, check)


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


# --- savepoints ------------------------------------------------------------------------------------------------


def test_a_savepoint_rolls_back_its_own_writes_only(engine: Engine) -> None:
    """An exception that leaves a savepoint rolls back its writes, and keeps those before and after it."""

    def work(transaction: Transaction) -> None:
        insert(transaction, "before")
        with pytest.raises(ValueError, match="stop"), transaction.savepoint():
            insert(transaction, "inside")
            transaction.update(ITEMS, "a", {"price": 5})
            raise ValueError("stop")
        assert price_of(transaction, "a") == 1
        insert(transaction, "after")

    engine.write(work)
    assert [price(engine, key) for key in ("a", "before", "inside", "after")] == [1, 0, None, 0]


def test_savepoints_nest(engine: Engine) -> None:
    """An inner savepoint is rolled back with the outer one, and alone if only the inner one fails."""

    def work(transaction: Transaction) -> None:
        with pytest.raises(ValueError), transaction.savepoint():
            insert(transaction, "outer_1")
            with transaction.savepoint():
                insert(transaction, "inner_1")
            raise ValueError
        with transaction.savepoint():
            insert(transaction, "outer_2")
            with pytest.raises(ValueError), transaction.savepoint():
                insert(transaction, "inner_2")
                raise ValueError

    engine.write(work)
    assert [price(engine, key) for key in ("outer_1", "inner_1", "outer_2", "inner_2")] == [None, None, 0, None]


def test_a_failing_transaction_rolls_back_its_savepoints(engine: Engine) -> None:
    """The writes of a savepoint are rolled back when the transaction around it fails."""

    def work(transaction: Transaction) -> None:
        with transaction.savepoint():
            insert(transaction, "b")
        raise ValueError

    with pytest.raises(ValueError):
        engine.write(work)
    assert price(engine, "b") is None


# --- unique indexes --------------------------------------------------------------------------------------------


def test_a_unique_index_rejects_a_second_row(engine: Engine) -> None:
    """An insert or update to values that another row has raises an error that names table, field and index."""
    engine.write(lambda transaction: insert(transaction, "b", name="Lamp"))
    message = r"items: another document has the same name \(unique index by_name\)"
    with pytest.raises(UniqueConstraintError, match=message):
        engine.write(lambda transaction: insert(transaction, "c", name="Lamp"))
    with pytest.raises(UniqueConstraintError, match=message):
        engine.write(lambda transaction: transaction.update(ITEMS, "a", {"name": "Lamp"}))


def test_none_does_not_collide(engine: Engine) -> None:
    """Several rows may have None in a unique index."""
    engine.write(lambda transaction: insert(transaction, "b"))
    engine.write(lambda transaction: insert(transaction, "c"))
    assert price(engine, "c") == 0


def test_a_transaction_survives_a_collision(engine: Engine) -> None:
    """Work that catches a collision can continue, and its writes before and after it are committed."""

    def work(transaction: Transaction) -> None:
        insert(transaction, "b", name="Lamp")
        with pytest.raises(UniqueConstraintError), transaction.savepoint():
            insert(transaction, "c", name="Lamp")
        insert(transaction, "d", name="Desk")

    engine.write(work)
    assert [price(engine, key) for key in ("b", "c", "d")] == [0, None, 0]


# --- streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [False, True])
def test_updates_of_the_index_that_is_streamed(engine: Engine, descending: bool) -> None:
    """A stream returns each row once, though its rows move ahead in the index while it is read."""
    fill(engine, 20)

    def work(transaction: Transaction) -> list[str]:
        seen = []
        for row in transaction.stream(ITEMS, prices_from(1000), descending=descending):
            seen.append(row[0])
            transaction.update(ITEMS, row[0], {"price": row[3] + (1500 if not descending else -500)})
        return seen

    seen = engine.write(work)
    assert seen == [f"k{number:02}" for number in range(20)][:: -1 if descending else 1]
    assert price(engine, "k03") == (2503 if not descending else 503)


def test_writes_do_not_show_in_an_open_stream(engine: Engine) -> None:
    """Rows that are inserted, updated or deleted while a stream is read do not change its rows."""
    fill(engine, 6)

    def work(transaction: Transaction) -> tuple[list[Any], list[str]]:
        stream = transaction.stream(ITEMS, prices_from(1000), descending=False)
        first = [next(stream), next(stream)]
        transaction.delete(ITEMS, "k00")
        transaction.delete(ITEMS, "k03")
        transaction.update(ITEMS, "k04", {"price": 5})
        insert(transaction, "new", 1003)
        rest = [*first, *stream]
        return rest, keys(transaction.stream(ITEMS, prices_from(1000), descending=False))

    before, after = engine.write(work)
    assert [(row[0], row[3]) for row in before] == [(f"k{number:02}", 1000 + number) for number in range(6)]
    assert after == ["k01", "k02", "new", "k05"]


def test_streams_are_read_in_turn(engine: Engine) -> None:
    """Two streams of one transaction can be read in turn, with writes in between."""
    fill(engine, 4)

    def work(transaction: Transaction) -> list[str]:
        up = transaction.stream(ITEMS, prices_from(1000), descending=False)
        down = transaction.stream(ITEMS, prices_from(1000), descending=True)
        seen = []
        for one, other in zip(up, down, strict=True):
            transaction.update(ITEMS, one[0], {"price": 5000})
            seen += [one[0], other[0]]
        return seen

    assert engine.write(work) == ["k00", "k03", "k01", "k02", "k02", "k01", "k03", "k00"]


def test_a_stream_survives_a_rolled_back_savepoint(engine: Engine) -> None:
    """A stream that was opened before a savepoint continues after the savepoint was rolled back."""
    fill(engine, 5)

    def work(transaction: Transaction) -> list[str]:
        stream = transaction.stream(ITEMS, prices_from(1000), descending=False)
        first = next(stream)
        with pytest.raises(ValueError), transaction.savepoint():
            transaction.delete(ITEMS, "k02")
            raise ValueError
        return [first[0], *keys(stream)]

    assert engine.write(work) == [f"k{number:02}" for number in range(5)]


# --- the end ---------------------------------------------------------------------------------------------------


def test_nothing_can_be_used_after_the_end(engine: Engine) -> None:
    """Snapshots, transactions and their streams raise an error when they are used after their end."""
    fill(engine, 3)
    kept: list[Any] = []

    def work(transaction: Transaction) -> None:
        half_read = transaction.stream(ITEMS, prices_from(0), descending=False)
        next(half_read)
        transaction.update(ITEMS, "a", {"price": 2})
        fresh = transaction.stream(ITEMS, prices_from(0), descending=False)
        kept.extend([transaction, half_read, fresh])

    engine.write(work)
    with engine.snapshot() as snapshot:
        kept.append(snapshot.stream(ITEMS, prices_from(0), descending=False))
    ended = kept.pop(0)
    uses: list[Callable[[], Any]] = [
        lambda: price_of(ended, "a"),
        lambda: price_of(snapshot, "a"),
        lambda: snapshot.select(ITEMS, prices_from(0), descending=False, limit=1),
        lambda: snapshot.count(ITEMS),
        lambda: snapshot.stream(ITEMS, prices_from(0), descending=False),
        lambda: insert(ended, "b"),
        lambda: ended.update(ITEMS, "a", {"price": 9}),
        lambda: ended.delete(ITEMS, "a"),
        lambda: ended.savepoint().__enter__(),
        *[partial(next, stream) for stream in kept],
    ]
    for use in uses:
        with pytest.raises(EngineError, match="after its function had ended"):
            use()
    assert price(engine) == 2


def test_a_write_inside_a_write_is_rejected(engine: Engine) -> None:
    """A transaction that begins inside of another one of its thread raises an error, since it would wait for itself."""
    with pytest.raises(FunctionCallError, match="inside a mutation"):
        engine.write(lambda transaction: engine.write(set_price(2)))
    assert engine.write(set_price(3))


def test_a_write_inside_a_read_is_allowed(engine: Engine) -> None:
    """A thread can write while it has a snapshot open."""
    read(engine, lambda snapshot: (price_of(snapshot, "a"), engine.write(set_price(2))))
    assert price(engine) == 2
