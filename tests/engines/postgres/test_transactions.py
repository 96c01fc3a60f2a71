"""Transactions of the PostgreSQL engine: errors, conflicts, claims and long streams."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from flask_convex_http import (
    EngineError,
    OverloadedError,
    UniqueConstraintError,
)
from flask_convex_http.engines import Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from tests.engines.members import (
    ITEMS,
    insert,
    insert_all,
    keys,
    price,
    price_of,
    segment,
    set_price,
)

# --- errors within a transaction -------------------------------------------------------------------------------------


def test_collision_leaves_the_transaction_usable(engine: PostgresEngine) -> None:
    """A transaction continues after its function has caught a collision."""

    def work(transaction: Transaction) -> None:
        insert(transaction, "b", 2, name="lamp")
        for collide in (
            lambda: insert(transaction, "c", name="lamp"),
            lambda: transaction.update(ITEMS, "a", {"name": "lamp", "price": 9}),
            lambda: insert(transaction, "b"),
        ):
            with pytest.raises(UniqueConstraintError):
                collide()
        transaction.update(ITEMS, "b", {"name": "lamp", "price": 3})

    engine.write(work)
    assert (price(engine), price(engine, "b"), price(engine, "c")) == (1, 3, None)


def test_error_that_is_caught_is_not_committed(engine: PostgresEngine) -> None:
    """A transaction whose function has caught an error of the server takes no more statements and does not commit."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        for _ in range(2):
            with pytest.raises(EngineError):
                transaction.update(ITEMS, "a", {"price": "no number"})

    with pytest.raises(EngineError, match="PostgreSQL: "):
        engine.write(work)
    assert price(engine) == 1


def test_error_after_a_savepoint_has_ended(engine: PostgresEngine) -> None:
    """A savepoint that has ended is rolled back with the one around it."""

    def work(transaction: Transaction) -> None:
        with pytest.raises(EngineError), transaction.savepoint():
            with transaction.savepoint():
                insert(transaction, "b", 6)
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "c", 7)

    engine.write(work)
    assert (price(engine, "b"), price(engine, "c")) == (None, 7)


def test_error_in_a_savepoint_is_rolled_back_with_it(engine: PostgresEngine) -> None:
    """A transaction continues after an error of the server in a savepoint."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        with pytest.raises(EngineError), transaction.savepoint():
            transaction.update(ITEMS, "a", {"price": 6})
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "b", 7)

    engine.write(work)
    assert (price(engine), price(engine, "b")) == (5, 7)


# --- conflicts -------------------------------------------------------------------------------------------------------


def test_conflict_is_retried_even_if_it_was_caught(
    engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]
) -> None:
    """A transaction is retried after a conflict, even if its function has caught the error."""
    other, seen = open_engine(), []

    def work(transaction: Transaction) -> str:
        seen.append(price_of(transaction, "a"))
        if len(seen) == 1:
            other.write(set_price(10))
        try:
            transaction.update(ITEMS, "a", {"price": (seen[-1] or 0) + 1})
        except Exception:
            return "caught"
        return "done"

    assert engine.write(work) == "done"
    assert (seen, price(engine)) == ([1, 10], 11)


def test_write_skew(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """Of two transactions that each read the rows of the other one is retried."""
    other, runs = open_engine(), []

    def insert_sum(transaction: Transaction, key: str) -> None:
        prices = [row[3] for row in transaction.select(ITEMS, segment(), descending=False, limit=None)]
        insert(transaction, key, sum(prices))

    def work(transaction: Transaction) -> None:
        runs.append(1)
        insert_sum(transaction, "first")
        if len(runs) == 1:
            other.write(lambda concurrent: insert_sum(concurrent, "second"))

    engine.write(work)
    assert len(runs) == 2
    assert (price(engine, "second"), price(engine, "first")) == (1, 2)


def test_conflicts_until_the_timeout(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that conflicts until its timeout fails with an error that asks to try again."""
    hasty, other = open_engine(writer_timeout=0.2), open_engine()

    def work(transaction: Transaction) -> None:
        other.write(set_price(transaction.count(ITEMS)))
        transaction.update(ITEMS, "a", {"price": 0})

    with pytest.raises(OverloadedError, match="try again in a moment") as caught:
        hasty.write(work)
    assert caught.value.retry_after


def test_long_transaction_among_short_ones(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that always loses to shorter ones commits, because it locks its rows after a few attempts."""
    slow, hasty = open_engine(writer_timeout=5.0), open_engine(writer_timeout=0.05)

    def work(transaction: Transaction) -> None:
        number = price_of(transaction, "a") or 0
        with suppress(OverloadedError):
            hasty.write(set_price(number + 1))
        transaction.update(ITEMS, "a", {"price": -1})

    slow.write(work)
    with slow.snapshot() as snapshot:
        assert price_of(snapshot, "a") == -1


def test_claims_are_exclusive(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """Another transaction skips claimed rows without a wait, until the transaction that claimed them ends."""
    insert_all(engine, *"bcd", price=5)
    other, whole, claimed = open_engine(), segment(), {}

    def work(transaction: Transaction) -> None:
        claimed["first"] = keys(transaction.claim(ITEMS, whole, limit=2))
        claimed["second"] = other.write(lambda concurrent: keys(concurrent.claim(ITEMS, whole, limit=10)))

    engine.write(work)
    assert claimed == {"first": ["a", "b"], "second": ["c", "d"]}
    assert engine.write(lambda transaction: keys(transaction.claim(ITEMS, whole, limit=10))) == ["a", "b", "c", "d"]


# --- long streams ----------------------------------------------------------------------------------------------------


def test_long_stream_shows_no_later_writes(engine: PostgresEngine) -> None:
    """A stream of several pages shows the rows of its first page's moment, though others write in between."""
    insert_all(engine, *(f"k{number:04}" for number in range(2500)))

    def work(transaction: Transaction) -> list[str]:
        found = []
        for row in transaction.stream(ITEMS, segment(), descending=False):
            found.append(row[0])
            if len(found) in (100, 700):
                insert(transaction, f"z{len(found)}", 10**6)
        return found

    assert len(engine.write(work)) == 2501
    with engine.snapshot() as snapshot:
        stream = snapshot.stream(ITEMS, segment(), descending=True)
        first = next(stream)[0]
        engine.write(lambda transaction: transaction.delete(ITEMS, "k0000"))
        assert first.startswith("z") and sum(1 for _ in stream) == 2502
