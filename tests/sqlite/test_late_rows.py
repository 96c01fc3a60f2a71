"""Rows of idempotency keys in a group commit, which are written together before its COMMIT."""

from concurrent.futures import wait
from typing import Any

import pytest

from flask_convex_http.engines import Row
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.errors import EngineError
from flask_convex_http.schema.index_ranges import Segment
from flask_convex_http.schema.system_tables import IdempotencyKey
from flask_convex_http.sqlite.late_rows import LateRows
from tests.engines.members import SCHEMA, insert
from tests.sqlite.crews import Work, adding, keys, tell_statements, together

KEYS = SCHEMA.table_for(IdempotencyKey)


def key_row(name: str) -> Row:
    """Return the row of a key."""
    return (name, 1.0, "f", name, None, "POST", "/", "r", 2.0, 201, "[]", b"{}")


def adding_key(name: str, *, fails: bool = False) -> Work:
    """Return work that adds an item and the row of a key, and then may raise."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, name)
        transaction.insert_late(KEYS, key_row(name))
        if fails:
            raise ValueError(name)

    return work


def names(engine: SQLiteEngine) -> list[str]:
    """Return the ids of all keys, sorted."""
    with engine.snapshot() as snapshot:
        return sorted(row[0] for row in snapshot.select(KEYS, Segment(()), descending=False, limit=None))


def test_a_group_writes_its_keys_together(engine: SQLiteEngine) -> None:
    """Twenty members of a group write their keys in two statements, and each of them has its key after the commit."""
    statements: list[str] = []
    tell_statements(engine, statements.append)
    wanted = [f"k{number:02}" for number in range(20)]
    for future in together(engine, *map(adding_key, wanted)):
        future.result()
    assert len([text for text in statements if 'INTO "_idempotency_keys"' in text]) == 2
    assert names(engine) == keys(engine) == wanted


@pytest.mark.parametrize("failures", [{0}, {1}, {15, 16}, {0, 4, 19}, set(range(20))])
def test_a_member_that_raises_leaves_no_key(engine: SQLiteEngine, failures: set[int]) -> None:
    """A member that raises takes its key with it, and none of the others."""
    wanted = [f"k{number:02}" for number in range(20)]
    works = [adding_key(name, fails=number in failures) for number, name in enumerate(wanted)]
    wait(together(engine, *works))
    assert names(engine) == keys(engine) == [name for number, name in enumerate(wanted) if number not in failures]


@pytest.mark.parametrize(
    "read",
    [
        lambda transaction: transaction.get_again(KEYS, "k1", lambda: ["k2"]) is not None,
        lambda transaction: transaction.get(KEYS, "k1") is not None,
        lambda transaction: transaction.select(KEYS, Segment(()), descending=False, limit=1) != [],
        lambda transaction: list(transaction.stream(KEYS, Segment(()), descending=False)) != [],
        lambda transaction: transaction.count(KEYS) == 1,
    ],
)
def test_a_member_sees_the_keys_of_earlier_members(engine: SQLiteEngine, read: Any) -> None:
    """Every read of the table sees a key of the same group, which stays when the reader fails afterwards."""

    def check(transaction: SQLiteTransaction) -> None:
        assert read(transaction)
        raise ValueError

    futures = together(engine, adding_key("k1"), adding("a"), check, adding_key("k2"))
    wait(futures)
    assert isinstance(futures[2].exception(), ValueError)
    assert (names(engine), keys(engine)) == (["k1", "k2"], ["a", "k1", "k2"])


def test_members_look_their_keys_up_together(engine: SQLiteEngine) -> None:
    """Members look for their keys in one statement for sixteen, and see those of earlier members all the same."""
    statements: list[str] = []
    engine.write(lambda transaction: transaction.insert(KEYS, key_row("k07")))
    wanted = [f"k{number:02}" for number in range(20)]

    def looking_up(name: str) -> Work:
        def work(transaction: SQLiteTransaction) -> Any:
            if transaction.get_again(KEYS, name, lambda: wanted[wanted.index(name) :]) is None:
                transaction.insert_late(KEYS, key_row(name))
            return transaction.get(KEYS, name)

        return work

    tell_statements(engine, statements.append)
    rows = [future.result() for future in together(engine, *map(looking_up, wanted))]
    assert [row[0] for row in rows] == wanted
    assert len([text for text in statements if 'FROM "_idempotency_keys"' in text and " IN (" in text]) == 2
    assert names(engine) == wanted


def test_a_member_sees_what_earlier_members_have_changed_since_it_was_looked_for(engine: SQLiteEngine) -> None:
    """A key that was looked for ahead is found if another member has inserted it since, and not if one deleted it."""
    engine.write(lambda transaction: transaction.insert(KEYS, key_row("k3")))

    def look(name: str) -> Work:
        return lambda transaction: transaction.get_again(KEYS, name, lambda: ["k1", "k2", "k3"]) is not None

    def add(transaction: SQLiteTransaction) -> Any:
        is_there = look("k2")(transaction)
        transaction.insert(KEYS, key_row("k2"))
        return is_there

    def purge(transaction: SQLiteTransaction) -> bool:
        return transaction.delete(KEYS, "k3")

    seen = [future.result() for future in together(engine, look("k1"), add, look("k2"), purge, look("k3"))]
    assert seen == [False, False, True, True, False]


def test_a_member_does_not_read_the_keys_of_others(engine: SQLiteEngine) -> None:
    """A row that cannot be read fails the member that asks for it, not those that looked for it ahead."""

    def damage(transaction: SQLiteTransaction) -> None:
        transaction.insert(KEYS, key_row("k2"))
        transaction._connection.execute("UPDATE _idempotency_keys SET path = CAST(X'FF' AS TEXT)")

    def look(name: str) -> Work:
        return lambda transaction: transaction.get_again(KEYS, name, lambda: ["k1", "k2"])

    engine.write(damage)
    first, second, third = together(engine, look("k1"), look("k2"), look("k3"))
    assert first.result() is third.result() is None
    with pytest.raises(EngineError, match="UTF-8"):
        second.result()


def test_a_key_is_looked_up_again_in_the_next_transaction(engine: SQLiteEngine) -> None:
    """A transaction looks again for a key that the last one looked for, whether that was committed or rolled back."""

    def look(transaction: SQLiteTransaction) -> bool:
        return transaction.get_again(KEYS, "k1", lambda: ["k2"]) is not None

    def fail(transaction: SQLiteTransaction) -> None:
        look(transaction)
        raise ValueError

    assert engine.write(look) is False
    engine.write(lambda transaction: transaction.insert(KEYS, key_row("k1")))
    assert engine.write(look) is True
    engine.write(lambda transaction: transaction.delete(KEYS, "k1"))
    with pytest.raises(ValueError):
        engine.write(fail)
    engine.write(lambda transaction: transaction.insert(KEYS, key_row("k1")))
    assert engine.write(look) is True


def test_a_key_is_looked_up_again_after_a_rollback_of_sqlite_itself(engine: SQLiteEngine) -> None:
    """A transaction looks again also after one that SQLite has rolled back by itself, unseen by its function."""

    def lose(transaction: SQLiteTransaction) -> None:
        assert transaction.get_again(KEYS, "k1", list) is None
        transaction.insert_late(KEYS, key_row("k2"))
        transaction._connection.execute("ROLLBACK")

    with pytest.raises(EngineError, match="rolled back the whole transaction"):
        engine.write(lose)
    engine.write(lambda transaction: transaction.insert(KEYS, key_row("k1")))
    assert engine.write(lambda transaction: transaction.get_again(KEYS, "k1", list)) is not None
    assert names(engine) == ["k1"]


def test_the_keys_of_an_interrupted_commit_are_forgotten(engine: SQLiteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between COMMIT and what follows it leaves nothing to the next transaction."""
    engine.write(adding_key("k0"))
    clear = LateRows.clear

    def interrupted(late_rows: LateRows) -> None:
        if late_rows.mark() == (0, 0):
            return clear(late_rows)
        monkeypatch.setattr(LateRows, "clear", clear)
        raise KeyboardInterrupt

    monkeypatch.setattr(LateRows, "clear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.write(adding_key("k1"))
    assert engine.write(lambda transaction: transaction._late_rows.mark()) == (0, 0)
    engine.write(adding_key("k2"))
    assert names(engine) == keys(engine) == ["k0", "k1", "k2"]


def test_a_savepoint_rolls_back_its_keys(engine: SQLiteEngine) -> None:
    """A key that was added inside of a savepoint goes with it, whether or not it was written by then."""

    def work(transaction: SQLiteTransaction) -> None:
        transaction.insert_late(KEYS, key_row("before"))
        for reads in (False, True):  # a read writes the row first
            with pytest.raises(ValueError), transaction.savepoint():
                adding_key("inside")(transaction)
                assert not reads or transaction.get(KEYS, "inside")
                raise ValueError

    engine.write(work)
    assert names(engine) == ["before"]
