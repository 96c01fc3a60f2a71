"""Queries that are read while documents change, and after their function has ended."""

from collections.abc import Iterator
from typing import Literal

import pytest

from flask_convex_http import Document, EngineError, gte, lte
from flask_convex_http.database.db import DatabaseWriter
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.deployment import Deployment, deployed

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Pair(Document, table="pairs", indexes={"by_a_b": ["a", "b"]}):
    a: int
    b: int | None = None


@pytest.fixture(name="app", scope="module")
def _app(each_engine: str) -> Iterator[Deployment]:
    with deployed(Pair) as app:
        yield app


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_moving_documents_while_reading_them(app: Deployment, order: Literal["asc", "desc"]) -> None:
    """Documents whose indexed field changes during the read, also from None to a value, appear once each."""

    def look(db: DatabaseWriter) -> None:
        ids = [db.insert(Pair(a=1, b=b)) for b in (None, None, None, 1, 2, 3)]
        seen = []
        for pair in db.query(Pair).with_index("by_a_b", a=1, b=lte(50)).order(order):
            seen.append(pair.id)
            db.patch(pair.id, b=None if pair.b else 40)
            db.insert(Pair(a=1, b=2))
        assert seen == ids[:: 1 if order == "asc" else -1]

    app.undone(look)


def test_deleting_everything_while_reading(app: Deployment) -> None:
    """A loop that deletes each document it reads deletes all of them."""

    def look(db: DatabaseWriter) -> None:
        for number in range(50):
            db.insert(Pair(a=number, b=None if number % 2 else number))
        for pair in db.query(Pair).with_index("by_a_b", a=gte(0)):
            db.delete(pair.id)
        assert db.query(Pair).first() is None

    app.undone(look)


def test_a_filter_may_write(app: Deployment) -> None:
    """A predicate that changes the documents does not change the result of the query."""

    def look(db: DatabaseWriter) -> None:
        for number in range(5):
            db.insert(Pair(a=number))

        def mark(pair: Pair) -> bool:
            db.patch(pair.id, a=pair.a + 100)
            return pair.a % 2 == 0

        assert [pair.a for pair in db.query(Pair).with_index("by_a_b").filter(mark).collect()] == [0, 2, 4]
        assert [pair.a for pair in db.query(Pair).with_index("by_a_b")] == [100, 101, 102, 103, 104]

    app.undone(look)


def test_an_error_in_a_filter_comes_out(app: Deployment) -> None:
    """An exception of a predicate reaches the caller, and the transaction can continue."""

    def look(db: DatabaseWriter) -> None:
        db.insert(Pair(a=0))
        with pytest.raises(ZeroDivisionError):
            db.query(Pair).filter(lambda pair: 1 / pair.a > 0).first()
        assert len(db.query(Pair).collect()) == 1

    app.undone(look)


def test_a_query_kept_for_later_raises(app: Deployment) -> None:
    """A query that is run or read further after its function has ended raises an error that says so."""
    with deployed(Pair) as own:
        own.add(Pair(a=1), Pair(a=2), Pair(a=3))
        query = own.read(lambda db: db.query(Pair))
        begun = own.read(lambda db: (rows := iter(db.query(Pair)), next(rows))[0])
        for use in (query.collect, query.first, lambda: next(iter(query)), lambda: next(begun)):
            with pytest.raises(EngineError, match="after its function had ended"):
                use()
