"""Fixtures of the crash tests: the preloaded libraries, a warm interpreter, and a folder in memory.

CRASH_POINTS is the number of crashes, and CRASH_SEED repeats the random choices of a run, but not the timing of kills.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.child_processes import child_environment
from tests.crash.nursery import Nursery
from tests.crash.programs import compiled
from tests.killing import seeded_random, short_folder


@pytest.fixture(name="shim", scope="session")
def _shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library made of `keep_synced.c`."""
    return compiled("keep_synced", tmp_path_factory.mktemp("shim"))


@pytest.fixture(name="nursery", scope="session")
def _nursery(shim: Path) -> Iterator[Nursery]:
    """Return a nursery whose workers keep what they sync."""
    nursery = Nursery(environment=child_environment() | {"LD_PRELOAD": str(shim)})
    yield nursery
    nursery.close()


@pytest.fixture(name="memory")
def _memory() -> Iterator[Path]:
    """Yield a folder with a short path, in memory if possible, since each sync copies into it."""
    with short_folder("crash-") as folder:
        yield folder


@pytest.fixture(name="random")
def _random() -> Random:
    """Return random choices. A failed test shows the seed that repeats them."""
    return seeded_random()
