"""Fixtures of the dashboard: the app, and a client that is logged in."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from tests.dashboard.shop import opened
from tests.dashboard.visitors import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.dashboard.browsing import Browsing


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


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Yield Chromium for the tests of a module."""
    from tests.dashboard.browsing import chromium

    with chromium() as started:
        yield started


@pytest.fixture
def browser_page(browser: "Browser", app: Flask, pytestconfig: pytest.Config) -> Iterator["Browsing"]:
    """Yield a window of the browser that is logged in with all rights, on a real server of the app.

    The test fails if a page violates its Content-Security-Policy, logs an error or requests anything from elsewhere.
    """
    from tests.dashboard.browsing import browsing

    with browsing(browser, app, pytestconfig) as opened:
        opened.log_in()
        yield opened
