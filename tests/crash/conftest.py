"""What crash tests share: the preloaded libraries, a warm interpreter, and a folder in memory.

CRASH_POINTS says how many crashes there are in all, CRASH_SEED repeats the random choices of a run; the moments of the
kills are the machine's.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash.nursery import Nursery
from tests.crash.programs import compiled
from tests.killing import seeded, short_folder


@pytest.fixture(name="shim", scope="session")
def _shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library made of `keep_synced.c`."""
    return compiled("keep_synced", tmp_path_factory.mktemp("shim"))


@pytest.fixture(name="nursery", scope="session")
def _nursery(shim: Path) -> Iterator[Nursery]:
    """Starts worker processes that keep what they sync."""
    nursery = Nursery(shim)
    yield nursery
    nursery.close()


@pytest.fixture(name="memory")
def _memory() -> Iterator[Path]:
    """A folder with a short path, in memory if there is a choice: what is copied at each sync should not wait."""
    with short_folder("crash-") as folder:
        yield folder


@pytest.fixture(name="random")
def _random() -> Random:
    """Random choices; a failed test shows the seed that repeats them."""
    return seeded()
