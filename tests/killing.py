"""Helpers for tests that kill processes: short paths, repeatable random choices, and a check of what is left."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random, SystemRandom

from flask import Flask


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


def problems_of(app: Flask) -> list[str]:
    """Return the problems that `flask convex check` reports of an app, and close its backend."""
    result = app.test_cli_runner().invoke(args=["convex", "check", "--files"])
    with app.app_context():
        app.extensions["convex_http"].close()
    return [] if result.exit_code == 0 else [f"flask convex check: {result.output} {result.exception or ''}"]
