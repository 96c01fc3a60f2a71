"""Fixtures of every family: only which database a test runs on; each test builds the app it tests."""

from collections.abc import Iterator

import pytest

from tests import s3
from tests.databases import ENGINES, PostgresServer, all_from


def pytest_report_header() -> str:
    """Say which S3 the tests use: one of them checks less."""
    return s3.described()


@pytest.fixture(name="postgres", scope="session")
def _postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL of this test process, started for the first test that needs one."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(name="each_engine", params=ENGINES, scope="module")
def _each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Has the tests of a module run on each engine; answers which one it is."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with all_from(server):
        yield request.param
