"""Fixtures of tests with killed servers: a short path for their sockets, and repeatable random choices."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.killing import seeded_random, short_folder


@pytest.fixture(name="sockets")
def _sockets() -> Iterator[Path]:
    """Yield a folder with a short path, in memory if possible."""
    with short_folder("shop-") as folder:
        yield folder


@pytest.fixture(name="random")
def _random() -> Random:
    """Return random choices. A failed test shows the seed that repeats them."""
    return seeded_random()
