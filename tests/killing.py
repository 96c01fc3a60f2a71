"""Helpers for tests that kill processes: a short path for sockets, and random choices that can be repeated."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom


@contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder with a short path, in memory where possible."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=shared if os.access(shared, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def seeded_random() -> Random:
    """Return a random generator, and print the seed that repeats a failed test."""
    seed = os.environ.get("CRASH_SEED") or str(SystemRandom().randrange(10**9))
    print(f"CRASH_SEED={seed}")
    return Random(seed)
