"""What tests with killed servers share: a short path for their sockets, and random choices that can be repeated."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom

import pytest


@pytest.fixture(name="sockets")
def _sockets() -> Iterator[Path]:
    """A folder with a short path, in memory if there is a choice."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="shop-", dir=shared if os.access(shared, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="random")
def _random() -> Random:
    """Random choices; a failed test shows the seed that repeats them."""
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    return Random(seed)
