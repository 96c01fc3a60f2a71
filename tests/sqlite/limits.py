"""Real faults without a special disk: limits of this process, lowered for a moment.

The tests of one process run one after another, so no other test meets a limit.
"""

import ctypes
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Of capabilities(7): the version of the calls, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_CAPABILITIES_VERSION, _OVERRIDES_OF_PERMISSIONS = 0x20080522, 1 << 1 | 1 << 2


@contextmanager
def _limit(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextmanager
def no_longer_files(path: Path) -> Iterator[None]:
    """Let no file become longer than this one is."""
    with _limit(resource.RLIMIT_FSIZE, path.stat().st_size):
        yield


@contextmanager
def no_rights_of_root() -> Iterator[None]:
    """Let the permissions of files count for this thread, also if it runs as root."""
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    before = data[0]
    data[0] = before & ~_OVERRIDES_OF_PERMISSIONS
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[0] = before
        assert libc.capset(header, data) == 0


@contextmanager
def one_more_file() -> Iterator[None]:
    """Let one more file be opened, but not two."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    with _limit(resource.RLIMIT_NOFILE, free + 1):
        yield


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Let no thread be started.

    A start that fails in the system leaves a thread state behind in CPython, which has the id of the caller's thread.
    Exceptions for that thread, such as those of the time limit of mutations, are lost from then on. So the start fails
    before.
    """

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, name, fail)
        yield
