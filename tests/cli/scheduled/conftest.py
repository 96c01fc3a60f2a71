"""The app of the tests of `flask convex scheduled`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_convex_http.testing import Clock
from tests.cli.errands import Errands, errands


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Errands]:
    """The app with functions to schedule, on a clock that stands still."""
    with errands(tmp_path, clock=clock) as created:
        yield created
