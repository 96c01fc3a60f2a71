"""What crash tests share: the preloaded libraries, a warm interpreter, and a folder in memory.

CRASH_POINTS says how many crashes there are in all, CRASH_SEED repeats the random choices of a run; the moments of the
kills are the machine's.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.crash.nursery import Nursery
from tests.crash.programs import compiled


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
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=shared if os.access(shared, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="random")
def _random() -> Random:
    """Random choices; a failed test shows the seed that repeats them."""
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    return Random(seed)
