"""Fixtures of the dashboard: the app, and a client that is logged in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.dashboard.shop import opened
from tests.dashboard.visitors import Visitor


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    """Yield the app on a temporary database of the current engine."""
    with opened(tmp_path) as app:
        yield app


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Return a client of the dashboard that may change everything."""
    return Visitor(app)


@pytest.fixture
def reader(app: Flask) -> Visitor:
    """Return a client of the dashboard whose session is read-only."""
    return Visitor(app, "read-only")


@pytest.fixture
def stranger(app: Flask) -> Visitor:
    """Return a client that is not logged in."""
    return Visitor(app, None)
