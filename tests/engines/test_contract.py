"""What every database engine does alike; each test runs once per member of `members.py`."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import EngineError, FunctionCallError, UniqueConstraintError
from flask_convex_http.engines.base import Engine, Snapshot, Transaction
from flask_convex_http.schema.index_ranges import Bound
from tests.engines.members import ITEMS, increment, insert, keys, price, price_of, segment, set_price


def read(engine: Engine, body: Callable[[Snapshot], Any]) -> Any:
    with engine.snapshot() as snapshot:
        return body(snapshot)


def fill(engine: Engine, count: int) -> None:
    """Items "k00", "k01", ... with prices 1000, 1001, ..."""

    def work(transaction: Transaction) -> None:
        for number in range(count):
            insert(transaction, f"k{number:02}", 1000 + number)

    engine.write(work)


def prices_from(number: int) -> Any:
    return segment(column="price", lower=Bound(number, True))


# --- rows ------------------------------------------------------------------------------------------------------


def test_many_rows_at_once(engine: Engine) -> None:
    """Many rows are added like one after another, and a collision of one of them is told."""
    rows = [[f"k{number}", float(number), f"n{number}", number, None, None] for number in range(50)]
    engine.write(lambda transaction: transaction.insert_all(ITEMS, rows))
    engine.write(lambda transaction: transaction.insert_all(ITEMS, []))
    assert [price(engine, key) for key in ("k0", "k49")] == [0, 49]
    with pytest.raises(UniqueConstraintError):
        engine.write(lambda transaction: transaction.insert_all(ITEMS, [["new", 0.0, "n7", 0, None, None]]))
    assert price(engine, "new") is None


def test_a_row_comes_back_as_it_went_in(engine: Engine) -> None:
    """get answers the id, the creation time and the columns in order; an unknown id has no row."""
    row = ["z", 5.5, "Lamp", 3, None, b"\0\xff"]
    engine.write(lambda transaction: transaction.insert(ITEMS, row))
    assert list(read(engine, lambda snapshot: snapshot.get(ITEMS, "z"))) == row
    assert read(engine, lambda snapshot: snapshot.get(ITEMS, "nobody")) is None


def test_update_and_delete_say_whether_there_was_a_row(engine: Engine) -> None:
    """Changing or removing what is not there answers False and does nothing."""
    assert engine.write(set_price(7)) is True
    assert engine.write(set_price(7, "nobody")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "nobody")) is False
    assert engine.write(lambda transaction: transaction.delete(ITEMS, "a")) is True
    assert price(engine) is None


def test_rows_are_counted(engine: Engine) -> None:
    """count answers how many rows a table has, one's own writes included."""
    fill(engine, 3)
    assert read(engine, lambda snapshot: snapshot.count(ITEMS)) == 4

    def work(transaction: Transaction) -> int:
        transaction.delete(ITEMS, "a")
        return transaction.count(ITEMS)

    assert engine.write(work) == 3


def test_select_reads_a_segment_in_either_direction(engine: Engine) -> None:
    """A segment's rows come in index order or backwards, at most as many as asked for."""
    fill(engine, 5)
    part = segment(column="price", lower=Bound(1001, True), upper=Bound(1004, False))

    def look(snapshot: Snapshot) -> None:
        for descending in (False, True):
            expected = ["k01", "k02", "k03"][:: -1 if descending else 1]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=None)) == expected
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=2)) == expected[:2]
            assert keys(snapshot.select(ITEMS, part, descending=descending, limit=0)) == []
            assert keys(snapshot.stream(ITEMS, part, descending=descending)) == expected

    read(engine, look)


def test_equal_columns_may_be_none(engine: Engine) -> None:
    """A segment can pin a column to None, and leave None out of one."""
    engine.write(lambda transaction: insert(transaction, "big", 5, size="big"))

    def look(snapshot: Snapshot) -> None:
        empty = segment("by_size_price", equal=(("size", None),))
        assert keys(snapshot.select(ITEMS, empty, descending=False, limit=None)) == ["a"]
        filled = segment("by_size_price", column="size", not_none=True)
        assert keys(snapshot.select(ITEMS, filled, descending=True, limit=None)) == ["big"]

    read(engine, look)


# --- isolation -------------------------------------------------------------------------------------------------


def test_a_snapshot_does_not_move(engine: Engine, open_engine: Callable[..., Engine]) -> None:
    """What is committed after a snapshot's first read is not seen in it, whoever commits it."""
    with engine.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 1
        engine.write(set_price(2))
        open_engine().write(set_price(3))
        assert price_of(snapshot, "a") == 1
        assert keys(snapshot.select(ITEMS, prices_from(2), descending=False, limit=None)) == []
        assert keys(snapshot.stream(ITEMS, prices_from(2), descending=False)) == []
    assert price(engine) == 3


def test_a_transaction_sees_its_own_writes(engine: Engine) -> None:
    """get, select and stream see what the same transaction wrote; nobody else does until it commits."""

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
    """While a transaction is open others read the state before it, from this process and from another."""
    other = open_engine()
    engine.write(lambda transaction: (set_price(9)(transaction), price(other), price(engine)))
    assert price(other) == 9


def test_write_answers_what_the_work_answers(engine: Engine) -> None:
    """The result of the work is the result of the write."""
    assert engine.write(lambda transaction: price_of(transaction, "a")) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_leaves_nothing_behind(engine: Engine, kind: type[BaseException]) -> None:
    """Whatever leaves the work as an exception, all its writes are undone and the engine goes on."""

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
    """A query that is run by `read` sees one moment, though a write is committed between its reads."""

    def query(snapshot: Snapshot) -> list[int | None]:
        first = price_of(snapshot, "a")
        snapshot.count(ITEMS)
        engine.write(set_price((first or 0) + 10))
        return [first, price_of(snapshot, "a")]

    first, second = engine.read(query)
    assert first == second
    assert price(engine) == (first or 0) + 10


def test_an_error_of_a_query_leaves_read(engine: Engine) -> None:
    """What a query raises is raised by `read`, and the engine goes on."""

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


def test_lookup_again_misses_no_row_for_good(engine: Engine) -> None:
    """A row that was inserted after a lookup is found in the transaction, or rejects the insert of a second one."""

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
    """An engine with backups writes one file, from which all rows come back. An engine without them has None."""
    if engine.backups is None:
        return
    engine.backups.create(tmp_path / "backup.db")
    engine.write(set_price(2))
    prepared = engine.backups.prepare_restore(tmp_path / "backup.db")
    assert prepared.rows >= 1
    assert prepared.run() is None
    assert price(engine) == 1


# --- savepoints ------------------------------------------------------------------------------------------------


def test_a_savepoint_undoes_its_own_writes_only(engine: Engine) -> None:
    """An exception that leaves a savepoint undoes what was written in it, and what was before and after stays."""

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
    """An inner savepoint that succeeded goes when the outer one fails, and the other way round it goes alone."""

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


def test_a_failing_transaction_undoes_its_savepoints(engine: Engine) -> None:
    """What a savepoint wrote is gone when the transaction around it fails."""

    def work(transaction: Transaction) -> None:
        with transaction.savepoint():
            insert(transaction, "b")
        raise ValueError

    with pytest.raises(ValueError):
        engine.write(work)
    assert price(engine, "b") is None


# --- unique indexes --------------------------------------------------------------------------------------------


def test_a_unique_index_refuses_a_second_row(engine: Engine) -> None:
    """Inserting or updating to values that are there is an error that names table, field and index."""
    engine.write(lambda transaction: insert(transaction, "b", name="Lamp"))
    message = r"items: another document has the same name \(unique index by_name\)"
    with pytest.raises(UniqueConstraintError, match=message):
        engine.write(lambda transaction: insert(transaction, "c", name="Lamp"))
    with pytest.raises(UniqueConstraintError, match=message):
        engine.write(lambda transaction: transaction.update(ITEMS, "a", {"name": "Lamp"}))


def test_none_is_unique_as_often_as_it_likes(engine: Engine) -> None:
    """Rows with None in a unique index do not collide."""
    engine.write(lambda transaction: insert(transaction, "b"))
    engine.write(lambda transaction: insert(transaction, "c"))
    assert price(engine, "c") == 0


def test_a_transaction_survives_a_collision(engine: Engine) -> None:
    """Work that catches a collision goes on, and what it wrote before and after is committed."""

    def work(transaction: Transaction) -> None:
        insert(transaction, "b", name="Lamp")
        with pytest.raises(UniqueConstraintError), transaction.savepoint():
            insert(transaction, "c", name="Lamp")
        insert(transaction, "d", name="Desk")

    engine.write(work)
    assert [price(engine, key) for key in ("b", "c", "d")] == [0, None, 0]


# --- streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [False, True])
def test_changing_the_indexed_field_while_reading_ends(engine: Engine, descending: bool) -> None:
    """Rows moved ahead in the index they are read by are seen once each, and the reading ends."""
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


def test_a_stream_shows_the_moment_it_was_opened(engine: Engine) -> None:
    """Rows inserted, changed or deleted while a stream is read change nothing in it."""
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


def test_streams_are_read_side_by_side(engine: Engine) -> None:
    """Several streams of one transaction are read in turn, with writes in between."""
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


def test_a_stream_survives_an_undone_savepoint(engine: Engine) -> None:
    """A stream opened before a savepoint goes on after the savepoint was undone."""
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
    """A snapshot, a transaction and their streams raise when they are used after their end."""
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


def test_a_write_inside_a_write_is_refused(engine: Engine) -> None:
    """A transaction started inside another of the same thread would wait for itself; it raises at once."""
    with pytest.raises(FunctionCallError, match="inside a mutation"):
        engine.write(lambda transaction: engine.write(set_price(2)))
    assert engine.write(set_price(3))


def test_a_write_inside_a_read_is_allowed(engine: Engine) -> None:
    """A snapshot does not stand in the way of a transaction of the same thread."""
    read(engine, lambda snapshot: (price_of(snapshot, "a"), engine.write(set_price(2))))
    assert price(engine) == 2
