"""The most recent rejected webhook deliveries, so that `flask convex webhooks doctor` can diagnose them.

Anyone can send a delivery that is rejected, so rejections must stay cheap:

* Nothing is written to the database. Each rejection is a file in a folder beside it, which all processes share.
* The newest 100 files stay, each with at most 64 KiB of body and 64 KiB of headers.
* For each webhook a process writes 20 files at once and one more each second. Log lines have the same bound. Further
  rejections are only counted.
* Recording is best effort: an error is logged once and does not change the response.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from flask_convex_http.config import Location
from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.durable_files import make_folder
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS

logger = logger_of("webhooks")

#: How many rejections are kept.
KEPT = 100
#: Bytes of a body that are kept, and characters of all headers together.
LONGEST_BODY = 64 * 1024
_LONGEST_HEADERS = 64 * 1024
#: Files that a process writes at once for a webhook. One more is allowed each second.
_BURST = 20.0

#: Numbered, so that the order does not depend on clocks. The random part keeps processes from using the same name.
_NAME = re.compile(r"[0-9]{12}-[0-9a-f]{8}\.json", re.ASCII)


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected delivery.

    Attributes:
        request_id: The `X-Request-Id` of the response. The sender may have chosen it.
        received_at: When it was received, in milliseconds since the epoch.
        source: The webhook's name.
        path: The path it was sent to.
        reason: The machine-readable reason: missing-header, malformed, too-old, too-new, no-match, missing-secret or
            too-large.
        message: The reason for people.
        headers: The headers as received, without cookies and credentials. Only those that a provider of the app names,
            and a few common ones, have their values.
        body: The body, or its first 64 KiB.
        size: The length of the whole body in bytes.
        others: How many rejections with the same source and reason the process has counted but not kept since the
            previous one that it kept.
    """

    request_id: str
    received_at: float
    source: str
    path: str
    reason: str
    message: str
    headers: Mapping[str, str]
    body: bytes
    size: int
    others: int = 0

    def __repr__(self) -> str:
        return f"Rejection({self.request_id!r}, source={self.source!r}, reason={self.reason!r}, size={self.size})"

    @property
    def is_whole(self) -> bool:
        """Whether the whole body was kept."""
        return self.size == len(self.body)


def folder_of(path: Path) -> Path:
    """Return the folder of the rejections of a database file: `convex.db.refused` beside `convex.db`."""
    return path.with_name(path.name + ".refused")


def rejections_folder(database: Location, storage: Location, folder: Path) -> Path | None:
    """Return the folder of a deployment's rejections, or None to keep them in memory.

    Args:
        database: The database. The folder is beside its file, if it is SQLite.
        storage: The blob store. With a temporary one, nothing is kept on this machine.
        folder: The folder on this machine for a database on a server.
    """
    if not database.is_sqlite:
        return None if storage.is_temporary else folder_of(folder / "convex")
    return None if database.path is None else folder_of(database.path)


class Rejections:
    """Records rejected deliveries and returns the most recent ones. Thread-safe.

    Args:
        folder: Where to keep them. It is created for the first rejection. With None they are kept in memory.
        timer: Returns seconds of a monotonic clock.
    """

    def __init__(self, folder: Path | None, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._timer = timer
        self._memory: deque[Rejection] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._allowances: dict[str, _Allowance] = {}
        self._unwritten: Counter[tuple[str, str]] = Counter()
        self._has_warned = False

    def admit(self, source: str, reason: str) -> int | None:
        """Return whether the next rejection may be recorded and logged. Otherwise it was counted.

        It comes before anything is made of a rejection, so that a flood of forgeries costs little.

        Args:
            source: The webhook's name.
            reason: The machine-readable reason.

        Returns:
            How many rejections with this source and reason were only counted since the last recorded one, or None if
            this one was only counted too.
        """
        if self._folder is None:
            return 0
        with self._lock:
            now = self._timer()
            allowance = self._allowances.get(source)
            if allowance is None:
                allowance = self._allowances[source] = _Allowance(now)
            if allowance.take(now):
                return self._unwritten.pop((source, reason), 0)
            self._unwritten[source, reason] += 1
            return None

    def is_flooded(self, source: str) -> bool:
        """Return whether the next rejection of a webhook would only be counted."""
        allowance = self._allowances.get(source)
        return allowance is not None and allowance.is_used_up(self._timer())

    def count(self, source: str, reason: str) -> None:
        """Count a rejection that is not recorded.

        Args:
            source: The webhook's name.
            reason: The machine-readable reason.
        """
        with self._lock:
            self._unwritten[source, reason] += 1

    def add(self, rejection: Rejection) -> None:
        """Record a rejected delivery that `admit` has let through. Raise no exception.

        Args:
            rejection: The delivery with its whole body and all its headers. Only a part of a long one is kept.
        """
        try:
            self._write(_shortened(rejection))
        except Exception as error:  # no space, no permission, no folder: the response is the same
            with self._lock:
                self._unwritten[rejection.source, rejection.reason] += rejection.others + 1
            self._warn_once(error)

    def recent(self, limit: int = KEPT) -> list[Rejection]:
        """Return the most recent rejections, newest first.

        Args:
            limit: The maximum number of rejections to return.
        """
        if self._folder is None:
            return list(reversed(self._memory.copy()))[:limit]  # a copy, because another thread may add one
        read = (_read(self._folder / name) for name in _names(self._folder))
        return [rejection for rejection in read if rejection is not None][:limit]

    def find(self, request_id: str) -> Rejection | None:
        """Return the most recent rejection with this request id, or None."""
        return next((rejection for rejection in self.recent() if rejection.request_id == request_id), None)

    def _write(self, rejection: Rejection) -> None:
        if self._folder is None:
            self._memory.append(rejection)
            return
        content = msgspec.json.encode(rejection)
        make_folder(self._folder)
        names = _names(self._folder)
        number = int(names[0].partition("-")[0]) + 1 if names else 1
        path = self._folder / f"{number:012d}-{secrets.token_hex(4)}.json"
        # One open with the mode. To create the file and open it again to write costs 4 ms on ext4, this 0.4 ms.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        for name in names[KEPT - 1 :]:
            (self._folder / name).unlink(missing_ok=True)

    def _warn_once(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("Rejected webhook deliveries cannot be recorded, only counted: %s", error)


class _Allowance:
    """The files that may be written for one webhook: a token bucket."""

    __slots__ = ("_refilled_at", "_tokens")

    def __init__(self, now: float) -> None:
        self._tokens, self._refilled_at = _BURST, now

    def take(self, now: float) -> bool:
        """Return whether one more file may be written now."""
        self._tokens = min(self._tokens + now - self._refilled_at, _BURST)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def is_used_up(self, now: float) -> bool:
        """Return whether no file may be written now."""
        return self._tokens + now - self._refilled_at < 1


def _names(folder: Path) -> list[str]:
    """Return the names of the files, newest first."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(filter(_NAME.fullmatch, os.listdir(folder)), reverse=True)
    return []


def _read(path: Path) -> Rejection | None:
    """Read a file. Return None if it has gone or is still being written."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rejection)
    except (OSError, msgspec.DecodeError):
        return None


def _shortened(rejection: Rejection) -> Rejection:
    """Return a rejection without credentials, and cut to the bounds."""
    headers: dict[str, str] = {}
    room = _LONGEST_HEADERS
    for name, value in rejection.headers.items():
        room -= len(name) + len(value)
        if room < 0:
            break
        if name.lower() not in CREDENTIAL_HEADERS:
            headers[name] = value
    body = rejection.body[:LONGEST_BODY]
    return msgspec.structs.replace(rejection, headers=headers, body=body)
