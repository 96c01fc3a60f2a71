"""Fixtures of the writer's tests: a database, and a second engine on its file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from tests.engines.members import SCHEMA, migrate


@pytest.fixture(name="open_engine")
def _open_engine(tmp_path: Path) -> Iterator[Callable[..., SQLiteEngine]]:
    """Return a function that opens the same file as another process would."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(SQLiteEngine(tmp_path / "contract.db", SCHEMA, **options)))


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., SQLiteEngine]) -> SQLiteEngine:
    """Return a database without items."""
    engine = open_engine()
    migrate(engine)
    return engine
