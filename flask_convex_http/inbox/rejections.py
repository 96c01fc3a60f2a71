"""The deliveries that were refused: counted, and the newest kept, so that somebody can ask what was wrong with them.

Anybody may send what is refused, so it never comes near the database, nothing grows with it, and keeping it may fail
without anybody noticing but the log. Each kept one is a small file in a folder beside the database, which all processes
share; the newest hundred stay. Under a flood a process writes a few a second and counts the rest. Nothing in a file's
name comes from outside, and whatever is found in the folder is read as what a stranger has put there.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import secrets
import stat
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS

logger = logging.getLogger("flask_convex_http")

#: How many are kept.
KEPT = 100
#: Bytes of a body that are kept, and characters of all headers together.
LONGEST_BODY = 64 * 1024
_LONGEST_HEADERS = 64 * 1024
_LONGEST_TEXT = 2000
#: Bytes of the largest file that can be one of these: body and headers with all that JSON adds to them.
_LONGEST_FILE = 1024 * 1024

#: Files that a process writes at once, and then each second.
_BURST = 20
_PER_SECOND = 1.0

_ENDING = ".refused"
#: A file that is being written; the name sorts with the others, so one that was never finished goes in its time.
_NEW = ".new"
_NAME = re.compile(r"([0-9]{15})-[0-9]{8}-[0-9a-f]{8}(\.json|\.new)", re.ASCII)
#: Milliseconds that another process's clock may be ahead. Files from further in the future, left by a clock that was
#: wrong, are the first to go: else they would stay and everything newer go.
_AHEAD = 60_000


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused.

    Attributes:
        request_id: The `X-Request-Id` of the answer. A sender may have chosen it.
        received_at: Milliseconds since the epoch.
        source: The webhook's name.
        path: The path it was sent to.
        reason: A machine word: missing-header, malformed, too-old, too-new, no-match, missing-secret or too-large.
        message: The same for people.
        headers: As received, without cookies and credentials.
        body: The body, or its beginning.
        size: How long the whole body was, in bytes.
        sha256: The digest of the whole body if only its beginning is here; empty otherwise.
        event_id: The id that it claimed to have; empty if nobody has looked.
        event_type: The type that it claimed to have.
        others: How many of the same source and reason the same process has refused since the one before, uncounted
            in any file.
    """

    request_id: str
    received_at: float
    source: str
    path: str
    reason: str
    message: str
    headers: dict[str, str]
    body: bytes
    size: int
    sha256: str = ""
    event_id: str = ""
    event_type: str = ""
    others: int = 0

    def __repr__(self) -> str:
        return f"Refusal({self.request_id!r}, source={self.source!r}, reason={self.reason!r}, size={self.size})"

    @property
    def is_whole(self) -> bool:
        """Whether the whole body is here."""
        return self.size == len(self.body)


_DECODER = msgspec.json.Decoder(Refusal)


def folder_of(path: Path) -> Path:
    """Where the refusals are for a database file."""
    return path.with_name(path.name + _ENDING)


class Refusals:
    """What was refused lately.

    Args:
        folder: Where to keep it, made when it is first needed; None: in memory, which a temporary database is too.
        clock: Answers now, in milliseconds since the epoch.
        timer: Answers seconds, on a clock that nobody sets.
    """

    def __init__(
        self, folder: Path | None, clock: Callable[[], float], *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._ring: _Folder | _Memory = _Memory() if folder is None else _Folder(folder, clock)
        self._bucket = None if folder is None else _Bucket(timer)
        self._clock = clock
        self._has_warned = False
        self.start_in_child()
        _ALL.add(self)

    def start_in_child(self) -> None:
        """Begin anew in a child of `fork()`: what was counted is the parent's, and one of its threads may have held
        the lock."""
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._unwritten: Counter[tuple[str, str]] = Counter()

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How many this process has refused, by source and reason."""
        with self._lock:
            return dict(self._counts)

    def add(
        self,
        *,
        source: str,
        path: str,
        reason: str,
        message: str,
        headers: Mapping[str, str],
        body: bytes,
        request_id: str,
        event_id: str = "",
        event_type: str = "",
    ) -> None:
        """Count a delivery that is refused, and keep it if there is room; raises nothing, and waits for nobody.

        Args:
            source: The webhook's name.
            path: The path it was sent to.
            reason: Why, as a machine word.
            message: Why, for people.
            headers: As received.
            body: As received; empty if it was not read.
            request_id: The `X-Request-Id` of the answer.
            event_id: The id it claims, if that is known.
            event_type: The type it claims, if that is known.
        """
        key = (source, reason)
        with self._lock:
            self._counts[key] += 1
            self._unwritten[key] += 1
            if self._bucket is not None and not self._bucket.take():
                return
            others = self._unwritten.pop(key) - 1
        try:
            self._ring.put(
                Refusal(
                    request_id=_text(request_id),
                    received_at=self._clock(),
                    source=_text(source),
                    path=_text(path),
                    reason=_text(reason),
                    message=_text(message),
                    headers=_kept_headers(headers),
                    body=bytes(body[:LONGEST_BODY]),
                    size=len(body),
                    sha256=hashlib.sha256(body).hexdigest() if len(body) > LONGEST_BODY else "",
                    event_id=_text(event_id),
                    event_type=_text(event_type),
                    others=others,
                )
            )
        except Exception as error:  # no space, no permission, no folder: the sender is answered all the same
            with self._lock:
                self._unwritten[key] += others + 1
            self._warn_once(error)

    def recent(self, limit: int = KEPT) -> list[Refusal]:
        """The newest ones, newest first.

        Args:
            limit: How many at most.
        """
        return self._ring.newest(limit)

    def find(self, id: str) -> Refusal | None:
        """The newest one of a request's id, or else of the event's id that it claimed.

        Args:
            id: The `X-Request-Id` of its answer, or the event's id.
        """
        found = self.recent() if id else []
        by_request = next((refusal for refusal in found if refusal.request_id == id), None)
        return by_request or next((refusal for refusal in found if refusal.event_id == id), None)

    def _warn_once(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("Refused webhook deliveries cannot be kept, only counted: %s", error)


class _Bucket:
    """How many files may be written: some at once, then a few each second. Used under the lock."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._tokens = float(_BURST)
        self._at = timer()

    def take(self) -> bool:
        now = self._timer()
        self._tokens = min(self._tokens + (now - self._at) * _PER_SECOND, float(_BURST))
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Memory:
    """The ring of a temporary database."""

    def __init__(self) -> None:
        self._kept: deque[Refusal] = deque(maxlen=KEPT)

    def put(self, refusal: Refusal) -> None:
        self._kept.append(refusal)

    def newest(self, limit: int) -> list[Refusal]:
        return list(reversed(self._kept.copy()))[:limit]  # a copy: another thread may add one meanwhile


class _Folder:
    """The ring that all processes share: a file for each, whose name sorts by time."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._sequence = itertools.count()

    def put(self, refusal: Refusal) -> None:
        content = msgspec.json.encode(refusal)
        # The sequence orders those of one millisecond; random, because other processes count too.
        stem = f"{max(int(refusal.received_at), 0):015d}-{next(self._sequence) % 10**8:08d}-{secrets.token_hex(4)}"
        new, done = self._path / f"{stem}{_NEW}", self._path / f"{stem}.json"
        descriptor = self._create(new)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.rename(new, done)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        for name in self._names()[KEPT:]:
            with contextlib.suppress(OSError):  # another process was first
                os.unlink(self._path / name)

    def newest(self, limit: int) -> list[Refusal]:
        found: list[Refusal] = []
        for name in self._names():
            if len(found) >= limit:
                break
            refusal = None if name.endswith(_NEW) else _read(self._path / name)
            if refusal is not None:
                found.append(refusal)
        return found

    def _create(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _names(self) -> list[str]:
        """The names of our files, newest first; what else is in the folder is somebody else's."""
        try:
            matches = [match for name in os.listdir(self._path) if (match := _NAME.fullmatch(name))]
        except OSError:  # nothing was ever refused, or the folder is not ours to read
            return []
        latest = self._clock() + _AHEAD
        matches.sort(key=lambda match: (int(match[1]) <= latest, match[0]), reverse=True)
        return [match[0] for match in matches]


def _read(path: Path) -> Refusal | None:
    """What a file holds; None if that is no refusal, or the file has gone."""
    try:
        # Not to wait for a pipe's writer, and not to be sent to another file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return _DECODER.decode(os.read(descriptor, _LONGEST_FILE)) if is_file else None
    except (OSError, ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        return None
    finally:
        os.close(descriptor)


def _text(text: str) -> str:
    """A text as a file takes it: bounded, and without halves of characters."""
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    room = _LONGEST_HEADERS
    for name, value in headers.items():
        room -= len(name) + len(value)
        if room < 0:
            break
        if name.lower() not in CREDENTIAL_HEADERS:
            kept[_text(name)] = value.encode("utf-8", "replace").decode()
    return kept


_ALL: weakref.WeakSet[Refusals] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for refusals in list(_ALL):
        refusals.start_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
