"""Fixtures of the tests of the PostgreSQL engine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.engines.postgres.engine import PostgresEngine
from tests.databases import PostgresServer, databases_from
from tests.engines.members import (
    MEMBERS,
    insert,
    migrate,
)


@pytest.fixture(name="open_engine")
def _open_engine(postgres: PostgresServer, tmp_path: Path) -> Iterator[Callable[..., PostgresEngine]]:
    """Yield a function that opens the database once more, as another process would."""
    opened: list[PostgresEngine] = []

    def open_one(**options: Any) -> PostgresEngine:
        engine = MEMBERS["postgres"](tmp_path, **options)
        assert isinstance(engine, PostgresEngine)
        opened.append(engine)
        return engine

    with databases_from(postgres):
        yield open_one
        for engine in opened:
            engine.close()


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., PostgresEngine]) -> PostgresEngine:
    """Return an engine whose database has one item, "a", with the price 1."""
    engine = open_engine()
    migrate(engine)
    engine.write(lambda transaction: insert(transaction, "a", 1))
    return engine
