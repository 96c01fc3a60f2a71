"""The members of a group commit: each can fail alone, and most need one statement more than a lone write."""

from concurrent.futures import wait

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from tests.engines.members import insert, price
from tests.sqlite.crews import Work, adding, keys, raising, tell_statements, together


def failing(key: str) -> Work:
    """Return work that adds an item and raises."""

    def work(transaction: SQLiteTransaction) -> None:
        insert(transaction, key)
        raise ValueError(key)

    return work


@pytest.mark.parametrize("failures", [{17}, {0, 1}, {15, 16, 17}, {31, 32, 33}, set(range(1, 36, 2)), set(range(36))])
def test_any_member_fails_alone(engine: SQLiteEngine, failures: set[int]) -> None:
    """A member that raises after a write leaves nothing, at whatever place of a group it is."""
    names = [f"k{number:02}" for number in range(36)]
    futures = together(
        engine, *[failing(name) if number in failures else adding(name) for number, name in enumerate(names)]
    )
    wait(futures)
    assert {number for number, future in enumerate(futures) if future.exception()} == failures
    assert keys(engine) == [name for number, name in enumerate(names) if number not in failures]


def test_a_savepoint_is_one_statement(engine: SQLiteEngine) -> None:
    """The savepoints of members are released together, so that a member has one statement more than a lone write."""
    engine.write(adding("a", price=0))
    statements: list[str] = []
    tell_statements(engine, statements.append)
    futures = together(engine, *[raising(1)] * 30)
    wait(futures)
    assert price(engine) == 30
    assert len([text for text in statements if text.startswith("RELEASE")]) <= 30 / 16
    assert len([text for text in statements if text.startswith("SAVEPOINT")]) < 30
