"""A slower disk: processes whose syncs are delayed by a small preloaded library.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The folder of benchmark data, on the disk of the checkout: a temporary folder may be in memory, where a sync is free.
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
    """There is no C compiler for the library, or no strace."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table that is measured on this disk, and with delayed syncs.

    Attributes:
        name: The work.
        delay: Seconds by which each sync is delayed.
    """

    name: str
    delay: float


def environment(delay: float) -> dict[str, str]:
    """Return the environment of a process whose syncs are delayed.

    Raises:
        NoCompilerError: There is no C compiler. A delay of 0 needs none.
    """
    if not delay:
        return dict(os.environ)
    preload = " ".join(filter(None, [str(_library()), os.environ.get("LD_PRELOAD")]))
    return {**os.environ, "LD_PRELOAD": preload, "SYNC_DELAY_US": str(round(delay * 1e6))}


def environment_or_note(name: str, delay: float) -> dict[str, str] | None:
    """Return `environment`, or print that a line of a table is left out and return None.

    Args:
        name: The name of the line.
        delay: Seconds by which each sync is delayed.
    """
    try:
        return environment(delay)
    except NoCompilerError as error:
        print(f"  {name}: left out, {error}")
        return None


def traced(command: Sequence[str], delay: float) -> list[str]:
    """Return a command whose syncs are delayed by strace, for a program without the C library such as one in Go.

    Only syncs are traced. The process itself is the child, and strace is detached from it.

    Raises:
        NoCompilerError: There is no strace. A delay of 0 needs none.
    """
    if not delay:
        return list(command)
    if shutil.which("strace") is None:
        raise NoCompilerError("there is no strace to delay syncs with")
    inject = f"inject=fsync,fdatasync:delay_exit={round(delay * 1e6)}"
    trace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", inject]
    return [*trace, "-o", os.devnull, *command]


def sync_time(process_environment: Mapping[str, str]) -> float:
    """Return the median of 50 syncs of one page in such an environment, in seconds."""
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        command = [sys.executable, "-c", _SYNCS, f"{folder}/page"]
        answer = subprocess.run(command, env=process_environment, check=True, capture_output=True, text=True)
    return statistics.median(float(line) for line in answer.stdout.split())


def describe_syncs() -> str:
    """Return a sentence with the duration of a sync, without and with a delay of a millisecond."""
    words = f"a sync here takes {sync_time(environment(0)) * 1e3:.2f} ms"
    try:
        return f"{words}, one delayed by 1 ms {sync_time(environment(0.001)) * 1e3:.2f} ms"
    except NoCompilerError:
        return words


def cache() -> Path:
    """Return the folder of benchmark data."""
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
