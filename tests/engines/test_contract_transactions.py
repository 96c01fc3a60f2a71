"""The contract that every engine keeps within a transaction: savepoints, unique indexes, streams and the end."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from flask_convex_http import EngineError, FunctionCallError, UniqueConstraintError
from flask_convex_http.engines import Engine, Transaction
from tests.engines.members import ITEMS, insert, insert_numbered, keys, price, price_of, prices_from, set_price

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
    insert_numbered(engine, 20)

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
    insert_numbered(engine, 6)

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
    insert_numbered(engine, 4)

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
    insert_numbered(engine, 5)

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
    insert_numbered(engine, 3)
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
    engine.read(lambda snapshot: (price_of(snapshot, "a"), engine.write(set_price(2))))
    assert price(engine) == 2
