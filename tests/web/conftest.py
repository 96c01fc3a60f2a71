"""Fixtures of the edge's tests: only where files are; each test builds the app it tests."""

from collections.abc import Iterator

import pytest

from tests import stores


@pytest.fixture(name="each_store", params=stores.STORES, scope="module")
def _each_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Has the tests of a module run with files in each store; answers which one it is."""
    with stores.all_files_in(request.param):
        yield request.param
