"""What tests with killed processes share: a short path for their sockets, and random choices that can be repeated."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom


@contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """A folder with a short path, in memory if there is a choice; gone afterwards."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=shared if os.access(shared, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def seeded() -> Random:
    """Random choices; a failed test shows the seed that repeats them."""
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    return Random(seed)
