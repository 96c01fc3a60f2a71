"""Fixtures of the contract tests, which run once for each engine in `members.MEMBERS`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from flask_convex_http.engines import Engine
from tests.databases import databases_from
from tests.engines.members import MEMBERS, insert, migrate


@pytest.fixture(params=MEMBERS, name="member", scope="module")
def _member(request: pytest.FixtureRequest) -> Iterator[str]:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with databases_from(server):
        yield str(request.param)


@pytest.fixture(name="open_engine")
def _open_engine(member: str, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Return a function that opens the database once more, as another process would."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(MEMBERS[member](tmp_path, **options)))


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., Engine]) -> Engine:
    """Return an engine whose database has one item, "a", with the price 1."""
    engine = open_engine()
    migrate(engine)
    engine.write(lambda transaction: insert(transaction, "a", 1))
    return engine
