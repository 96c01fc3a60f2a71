"""Documents that a sender publishes on the network, such as its certificates, kept between deliveries.

Anyone can send a delivery that names a document, so the fetches are limited: one at a time, and `MOST_FETCHES` in
`PERIOD` seconds. A document that is known needs no fetch, so forgeries do not delay genuine deliveries.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from flask_convex_http.errors import VerificationUnavailableError
from flask_convex_http.identities.fetch import FetchError
from flask_convex_http.log import logger_of

logger = logger_of("webhooks")

#: Fetches within `PERIOD` seconds, of documents that exist and of others.
MOST_FETCHES = 10
PERIOD = 60.0
#: Seconds after which a document is fetched again.
KEEP = 24 * 3600.0
#: Seconds that a delivery waits for the fetches of others.
_WAIT = 10.0
_MOST_KNOWN = 64

Document = TypeVar("Document")


class RemoteDocuments(Generic[Document]):
    """Documents by their name, such as a URL. Thread-safe.

    Args:
        sender: The sender, for messages.
        load: Fetches and parses a document, or raises `FetchError`.
    """

    def __init__(self, sender: str, load: Callable[[str], Document]) -> None:
        self._sender = sender
        self._load = load
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Document, float]] = {}
        self._fetches: deque[float] = deque(maxlen=MOST_FETCHES)

    def get(self, name: str, *, may_fetch: bool = True) -> Document:
        """Return a document, and fetch it if it is not known. A known one is used for longer if its fetch fails.

        Args:
            name: The name.
            may_fetch: Whether it may be fetched.

        Raises:
            VerificationUnavailableError: It must be fetched, and cannot or may not be fetched now.
        """
        document = self._fresh(name)
        if document is not None:
            return document
        if not may_fetch:
            raise VerificationUnavailableError(f"A key of {self._sender} is not known yet")
        if not self._lock.acquire(timeout=_WAIT):
            raise VerificationUnavailableError(f"The keys of {self._sender} are being fetched for other deliveries")
        try:
            return self._fresh(name) or self._fetched(name)
        finally:
            self._lock.release()

    def _fresh(self, name: str) -> Document | None:
        known = self._known.get(name)
        return known[0] if known is not None and time.monotonic() - known[1] < KEEP else None

    def _fetched(self, name: str) -> Document:
        try:
            self._count_fetch()
            document = self._load(name)
        except FetchError as error:
            if name in self._known:
                logger.warning("A key of %s cannot be fetched again, and stays in use: %s", self._sender, error)
                return self._known[name][0]
            raise VerificationUnavailableError(f"A key of {self._sender} cannot be fetched: {error}") from error
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[name] = document, time.monotonic()
        return document

    def _count_fetch(self) -> None:
        now = time.monotonic()
        if len(self._fetches) == MOST_FETCHES and now - self._fetches[0] < PERIOD:
            raise FetchError(f"{MOST_FETCHES} were fetched within a minute, perhaps for forgeries")
        self._fetches.append(now)
