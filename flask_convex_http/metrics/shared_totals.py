"""The totals of all processes of a deployment on this machine, which share a folder.

Each process has a file of its own, which it replaces once a second if a number has changed, and holds a lock as long as
it lives. A scrape, in whichever process, adds the files up. The file of a process that has ended, in whatever way, is
added to those of its predecessors and removed, so that no counter goes down and no file stays behind.

The first process of a deployment finds no other one alive, and begins at zero: to Prometheus that is a restart.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from flask_convex_http.log import logger_of
from flask_convex_http.metrics.definitions import METRICS
from flask_convex_http.metrics.totals import Labels, Total, Totals
from flask_convex_http.sqlite.durable_files import make_folder

logger = logger_of()

#: Seconds that a process waits for the lock of the folder, which others hold for milliseconds.
_TIMEOUT = 2.0
_ENDED, _LOCK = "ended.json", "lock"
_SIZES = {metric.name: (len(metric.labels), len(metric.buckets) + 1 if metric.buckets else 0) for metric in METRICS}


class Member(msgspec.Struct, frozen=True):
    """The file of one process, or the sum of those that have ended.

    Attributes:
        totals: The metrics with their labels and values.
        gauges: The current values of the process, by name.
        added: The processes whose files are added, and may not be removed yet.
    """

    totals: list[tuple[str, Labels, Total]] = []
    gauges: dict[str, float] = {}
    added: list[str] = []


class SharedTotals:
    """The totals of the processes that share a folder. One thread at a time may use it.

    Args:
        folder: The folder. It is created for the first numbers. With None this process is the only one.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._name = ""
        self._lock: int | None = None
        self._published = b""
        self._has_warned = False

    def publish(self, totals: Totals, gauges: Mapping[str, float]) -> None:
        """Replace the file of this process, if a number has changed. Raise no exception."""
        if self._folder is None:
            return
        content = msgspec.json.encode(Member(list(totals), dict(gauges)))
        if content == self._published:
            return
        try:
            self._join(self._folder)
            _replace(self._folder / f"{self._name}.json", content)
            self._published = content
        except OSError as error:  # no space, no permission: the numbers stay in this process
            self._warn_once(error)

    def collect(self, totals: Totals, gauges: Mapping[str, float]) -> tuple[Totals, dict[str, float], int]:
        """Publish the numbers of this process, and return those of all.

        Args:
            totals: The totals of this process.
            gauges: The current values of this process.

        Returns:
            The totals, the sums of the gauges, and the number of processes that live.
        """
        self.publish(totals, gauges)
        if self._folder is None or self._lock is None:
            return totals, dict(gauges), 1
        try:
            ended, living = self._members(self._folder)
        except OSError as error:  # the folder is gone, for example
            self._warn_once(error)
            return totals, dict(gauges), 1
        return _sum([ended, *living]), _sum_of_gauges(living), len(living)

    def forget(self) -> None:
        """Release the lock, and join as another process with the next numbers."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self._published = None, b""

    # --- the folder --------------------------------------------------------------------------------------------------

    def _join(self, folder: Path) -> None:
        """Create the lock of this process, unless it is there."""
        if self._lock is not None and (folder / f"{self._name}.lock").exists():
            return
        self.forget()
        if not self._name:  # later the folder around it may have been removed on purpose
            make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        with _locked(folder):
            if not self._add_ended(folder):
                (folder / _ENDED).unlink(missing_ok=True)
            self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
            self._lock = _open_lock(folder / f"{self._name}.lock")

    def _members(self, folder: Path) -> tuple[Member, list[Member]]:
        """Return the sum of the processes that have ended, and the files of those that live."""
        with _locked(folder):
            self._add_ended(folder)
            return _read(folder / _ENDED), [_read(path) for path in folder.glob("*-*.json")]

    def _add_ended(self, folder: Path) -> int:
        """Add the files of ended processes to the sum of those before, and return the number of others that live."""
        names = {path.stem for path in folder.glob("*-*.*")} - {self._name}
        ended = [name for name in names if not _is_held(folder / f"{name}.lock")]
        if ended:
            before = _read(folder / _ENDED)
            new = [_read(folder / f"{name}.json") for name in ended if name not in before.added]
            _replace(folder / _ENDED, msgspec.json.encode(Member(list(_sum([before, *new])), added=ended)))
        for path in (folder / f"{name}.{ending}" for name in ended for ending in ("json", "lock", "new")):
            path.unlink(missing_ok=True)
        return len(names) - len(ended)

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("The metrics of this process cannot be shared with other processes: %s", error)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    path = folder / _LOCK
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not _acquire(descriptor):
        if time.monotonic() > deadline:
            raise OSError(f"{path} is held by another process")
        time.sleep(0.002)


def _open_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _acquire(descriptor)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    new.rename(path)


def _read(path: Path) -> Member:
    """Return the content of a file, or nothing if it is gone or unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Member)
    except (OSError, msgspec.DecodeError):
        return Member()


# --- sums ------------------------------------------------------------------------------------------------------------


def _sum(members: list[Member]) -> Totals:
    result = Totals()
    for name, labels, total in (entry for member in members for entry in member.totals):
        if _SIZES.get(name) == (len(labels), len(total.buckets)):  # another release may have other labels
            result.add(name, labels, total)
    return result


def _sum_of_gauges(members: list[Member]) -> dict[str, float]:
    names = {name for member in members for name in member.gauges}
    return {name: sum(member.gauges.get(name, 0.0) for member in members) for name in names}
