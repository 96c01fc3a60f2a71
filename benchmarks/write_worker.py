"""One process of writers: `python -m benchmarks.write_worker KIND FOLDER DURABILITY THREADS NUMBER`.

Each process stays on its own processor, as gunicorn's workers do with the recommended settings.

It prints "ready" and reads lines "START SECONDS", with START by the monotonic clock of all processes. It prints a burst
in JSON for each. Threads and connections are kept between lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

from benchmarks import items
from benchmarks.bursts import Burst
from benchmarks.peers import sqlite_items

Write = Callable[[], object]


def main(kind: str, folder: str, durability: str, threads: str, number: str) -> None:
    """Run a burst for each line of standard input."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[int(number) % len(processors)]})
    write = {"ours": _ours, "by hand": _by_hand}[kind](Path(folder), durability)
    count = int(threads)
    with ThreadPoolExecutor(count) as pool:
        print("ready", flush=True)
        for line in sys.stdin:
            start, seconds = map(float, line.split())
            burst = Burst(seconds)
            for own in [pool.submit(_write_for, write, start, seconds) for _ in range(count)]:
                burst.add(own.result())
            print(json.dumps({part.name: getattr(burst, part.name) for part in fields(burst)}), flush=True)


def _ours(folder: Path, durability: str) -> Write:
    backend = items.open_backend(folder, durability)
    return lambda: backend.ctx().run_mutation(items.create, name=items.NAME, description=items.DESCRIPTION)


def _by_hand(folder: Path, durability: str) -> Write:
    table = sqlite_items.Items(folder / "items.db", durability)
    return lambda: table.create(items.NAME, items.DESCRIPTION)


def _write_for(write: Write, start: float, seconds: float) -> Burst:
    """Write from the start on. Each thread waits for it, so each runs one of these."""
    burst = Burst(seconds)
    time.sleep(max(0.0, start - time.monotonic()))
    end = start + seconds
    while (began := time.monotonic()) < end:
        _write_once(write, burst)
        done = time.monotonic()
        burst.waits.append(done - began)
        if done <= end:
            burst.in_time = burst.acknowledged
    return burst


def _write_once(write: Write, burst: Burst) -> None:
    try:
        write()
    except Exception as error:
        burst.errors[f"{type(error).__name__}: {error}"] += 1
    else:
        burst.acknowledged += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
