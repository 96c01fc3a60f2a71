"""Writes documents at random, in a process of its own: `python -m tests.sync.writer URL SEED`."""

import random
import sys
from contextlib import closing
from pathlib import Path

from flask_convex_http import Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.sync.test_live_queries import Draft, Score, write_some


def main(url: str, seed: str) -> None:
    """Make 100 commits."""
    chance = random.Random(int(seed))
    settings = Settings(database_url=url, storage_url="sqlite:///:memory:")
    with closing(Backend(settings, Schema(Score, Draft), folder=Path())) as backend:
        for _ in range(100):
            backend.runtime.transact(lambda ctx: write_some(ctx.db, chance), backend.caller())


if __name__ == "__main__":
    main(*sys.argv[1:])
