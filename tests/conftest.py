"""Fixtures and hooks of all tests: the database and blob store of a test, and the number of test processes."""

import gc
import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import lengths, stores
from tests.databases import ENGINES, PostgresServer, databases_from, roomy_memory
from tests.templates import copy_migrated
from tests.url_builders import compile_once

gc.disable()  # until all tests are collected, which makes objects that stay: a fifth of the time of the collection


def pytest_xdist_auto_num_workers() -> int:
    """Return one and a half processes per CPU for `-n auto`, because many tests wait for servers and clocks."""
    return len(os.sched_getaffinity(0)) * 3 // 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long`."""
    parser.addoption("--long", action="store_true", help="run what is left out otherwise, and samples at length")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the length of the run, and unless it is the long one save time that no test is about.

    The folders of tests are in memory. The package syncs there as it does on a disk, but does not wait for it.
    `--basetemp` names another place.
    """
    _allow_slow_examples()
    is_long = config.getoption("--long")
    lengths.choose(is_long=is_long)
    if is_long:
        return
    compile_once()
    copy_migrated()
    memory = roomy_memory()
    if memory is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
        os.environ.setdefault("TMPDIR", str(memory))  # of databases without a place of their own
        tempfile.tempdir = None


def _allow_slow_examples() -> None:
    """Let examples of properties take long, because the machine may be busy. In CI Hypothesis does it itself."""
    assert settings.default is not None
    suppressed = [*settings.default.suppress_health_check, HealthCheck.too_slow]
    settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=suppressed)
    settings.load_profile("busy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of the other length."""
    config.hook.pytest_deselected(items=[item for item in items if not lengths.is_chosen(item)])
    items[:] = [item for item in items if lengths.is_chosen(item)]


def pytest_collection_finish() -> None:
    """Collect garbage from now on, without the objects of the collection of tests."""
    gc.enable()
    gc.freeze()


@pytest.fixture(name="postgres", scope="session")
def _postgres() -> Iterator[PostgresServer]:
    """Yield the PostgreSQL server of this test process, which starts with the first test that needs one."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(name="each_engine", params=ENGINES, scope="module")
def _each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the tests of a module on each engine, and return the engine's name."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with databases_from(server):
        yield request.param


@pytest.fixture(name="each_store", params=stores.STORES, scope="module")
def _each_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the tests of a module with files in each blob store, and return the store's name."""
    with stores.all_files_in(request.param):
        yield request.param
