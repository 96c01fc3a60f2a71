"""A slower disk than this one: processes whose syncs take a given time longer, by a small library that is preloaded.

`slow_sync.c` is compiled at the first use. A real clock delays both sides of a comparison alike.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: What benchmarks write, on the disk of the checkout: a temporary folder may be in memory, where a sync is free.
CACHE = Path(__file__).with_name(".cache")
_SOURCE = Path(__file__).with_name("slow_sync.c")
_SYNCS = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for _ in range(50):
    os.pwrite(file, os.urandom(4096), 0)
    began = time.perf_counter()
    os.fdatasync(file)
    print(time.perf_counter() - began)
"""


class NoCompilerError(Exception):
    """There is nothing to compile the library with."""


def environment(delay: float) -> dict[str, str]:
    """The environment of a process whose syncs take so many seconds longer.

    Raises:
        NoCompilerError: There is no C compiler; a delay of 0 needs none.
    """
    if not delay:
        return dict(os.environ)
    preload = " ".join(filter(None, [str(_library()), os.environ.get("LD_PRELOAD")]))
    return {**os.environ, "LD_PRELOAD": preload, "SYNC_DELAY_US": str(round(delay * 1e6))}


def sync_time(process_environment: Mapping[str, str]) -> float:
    """The seconds that a sync of one page takes in such an environment, the median of 50."""
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        command = [sys.executable, "-c", _SYNCS, f"{folder}/page"]
        answer = subprocess.run(command, env=process_environment, check=True, capture_output=True, text=True)
    return statistics.median(float(line) for line in answer.stdout.split())


def said() -> str:
    """What a sync takes, in words: by itself, and with a delay of a millisecond."""
    words = f"a sync here takes {sync_time(environment(0)) * 1e3:.2f} ms"
    try:
        return f"{words}, one delayed by 1 ms {sync_time(environment(0.001)) * 1e3:.2f} ms"
    except NoCompilerError:
        return words


def cache() -> Path:
    """The folder for what benchmarks write."""
    CACHE.mkdir(exist_ok=True)
    return CACHE


@functools.cache
def _library() -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NoCompilerError("there is no C compiler (gcc or cc) to delay syncs with")
    library = cache() / f"slow_sync-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if not library.exists():
        unfinished = library.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", unfinished, _SOURCE, "-ldl"], check=True)
        unfinished.rename(library)
    return library
