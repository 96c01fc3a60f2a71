"""What tests with killed servers share: a short path for their sockets, and random choices that can be repeated."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.killing import seeded, short_folder


@pytest.fixture(name="sockets")
def _sockets() -> Iterator[Path]:
    """A folder with a short path, in memory if there is a choice."""
    with short_folder("shop-") as folder:
        yield folder


@pytest.fixture(name="random")
def _random() -> Random:
    """Random choices; a failed test shows the seed that repeats them."""
    return seeded()
