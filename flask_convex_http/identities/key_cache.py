"""The keys of one issuer, kept between requests.

Keys are refreshed in the background after `REFRESH_MS`. After `EXPIRE_MS` a request waits for the refresh, so a key
that the issuer has removed is rejected from then on. While the issuer is down, its last keys are used for up to
`STALE_MS`.
An unknown key id causes a refresh, at most one each `UNKNOWN_MS`. There is one fetch at a time, for any number of
threads, and nobody waits longer for it than `WAIT` seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import jwt

from flask_convex_http.errors import AuthenticationError, AuthProviderError
from flask_convex_http.identities.fetch import TIMEOUT, FetchError
from flask_convex_http.log import logger_of

logger = logger_of()

_MINUTE = 60_000.0
REFRESH_MS = 5 * _MINUTE
EXPIRE_MS = 10 * _MINUTE
STALE_MS = 24 * 60 * _MINUTE
#: Milliseconds between two refreshes for unknown key ids, and after a fetch that failed.
UNKNOWN_MS = 10_000.0
RETRY_MS = 5_000.0
#: Seconds that a request waits for a fetch: discovery and keys.
WAIT = 2 * TIMEOUT
#: Seconds after which a fetch that has not ended is left alone, and another may start.
_ABANDONED = 6 * TIMEOUT
_MIN_RSA_BITS = 2048
#: The kind of key of an algorithm, its curve, and the fields of its public key.
_KINDS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "RS256": ("RSA", None, ("n", "e")),
    "ES256": ("EC", "P-256", ("crv", "x", "y")),
    "EdDSA": ("OKP", "Ed25519", ("crv", "x")),
}


class KeySet:
    """A set of keys (JWKS, RFC 7517). Keys of other kinds, such as symmetric ones, are left out.

    Args:
        document: The JSON document.

    Raises:
        FetchError: It is no set of keys.
    """

    def __init__(self, document: Any) -> None:
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise FetchError("the response is no JWKS, which has a list of keys")
        self._document = document
        self._keys: dict[str, list[dict[str, Any]]] = {}
        self._usable: dict[tuple[str, str], Any] = {}
        for key in listed:
            if isinstance(key, dict) and isinstance(key.get("kid"), str):
                self._keys.setdefault(key["kid"], []).append(key)

    def equals(self, other: KeySet) -> bool:
        """Return whether both have the same content."""
        return bool(self._document == other._document)

    def find(self, kid: str, algorithm: str) -> Any | None:
        """Return the key with an id, for an algorithm, or None."""
        if kid not in self._keys:
            return None
        found = self._usable.get((kid, algorithm))
        if found is None:
            usable = (_public_key(key, algorithm) for key in self._keys[kid])
            found = self._usable[kid, algorithm] = next((key for key in usable if key is not None), False)
        return found or None


class KeyCache:
    """The current keys of one issuer. Thread-safe.

    Args:
        name: The issuer, for the log.
        load: Fetches the keys, or raises `FetchError`.
        clock: Returns the current time in milliseconds since the epoch.
    """

    def __init__(self, name: str, load: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._name = name
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = -STALE_MS
        self._failed = self._asked = -STALE_MS
        self._running: _Fetch | None = None

    def current(self) -> KeySet:
        """Return the current keys, and see to it that they are refreshed in time.

        Raises:
            AuthProviderError: There are none, and they cannot be fetched.
        """
        age = self._age(self._fetched)
        keys = self._keys
        if keys is not None and age < REFRESH_MS:
            return keys
        if self._age(self._failed) >= RETRY_MS:
            fetch = self._start()
            if keys is None or age >= EXPIRE_MS:
                self._wait(fetch)
        if self._keys is None or self._age(self._fetched) >= STALE_MS:
            raise AuthProviderError(f"The keys of {self._name} cannot be fetched, see the log")
        return self._keys

    def find(self, kid: str, algorithm: str) -> tuple[Any, KeySet]:
        """Return the key with an id, and the set that it is in. An unknown id causes a refresh now and then.

        Raises:
            AuthenticationError: The issuer has no such key.
            AuthProviderError: There are no keys, and they cannot be fetched.
        """
        keys = self.current()
        found = keys.find(kid, algorithm)
        if found is None:
            keys = self._asked_again()
            found = keys.find(kid, algorithm)
        if found is None:
            raise self._unknown(kid, algorithm)
        return found, keys

    def known(self, kid: str, algorithm: str) -> Any:
        """Return the key with an id as `find` does, if that causes no fetch.

        Raises:
            AuthenticationError: The issuer has no such key.
            AuthProviderError: `find` would cause a fetch.
        """
        keys = self._keys
        if keys is None or self._age(self._fetched) >= REFRESH_MS:
            raise AuthProviderError(f"The keys of {self._name} must be fetched first")
        found = keys.find(kid, algorithm)
        if found is None and self._may_change(keys):
            raise AuthProviderError(f"The keys of {self._name} must be fetched again first")
        if found is None:
            raise self._unknown(kid, algorithm)
        return found

    def _unknown(self, kid: str, algorithm: str) -> AuthenticationError:
        return AuthenticationError(f"{self._name} has no {algorithm} key with the id of the token, {kid[:100]!r}")

    def _age(self, moment: float) -> float:
        """Return the milliseconds since a moment. After the clock was set back, that is a long time."""
        age = self._clock() - moment
        return age if age >= 0 else STALE_MS

    def _asked_again(self) -> KeySet:
        """Return the keys after an unknown key id, fetched again unless that was just now."""
        fetch = self._fetch_for_unknown()
        if fetch is not None:
            self._wait(fetch)
        return self.current()  # another thread may have fetched newer ones since the id was looked up

    def _fetch_for_unknown(self) -> _Fetch | None:
        """Return the fetch that runs, or start one if an unknown key id may cause it, or return None.

        The time and the fetch are noted under one lock, so that another thread with the same id waits for this fetch.
        """
        with self._lock:
            if self._running is not None:
                return self._started()
            if not self._is_due():
                return None
            self._asked = self._clock()
            return self._started()

    def _may_change(self, keys: KeySet) -> bool:
        """Return whether an id that is not in these keys may be in newer ones."""
        with self._lock:
            return self._keys is not keys or self._running is not None or self._is_due()

    def _is_due(self) -> bool:
        """Return whether an unknown key id may cause a refresh now."""
        return self._age(self._asked) >= UNKNOWN_MS and self._age(self._failed) >= RETRY_MS

    def _start(self) -> _Fetch:
        """Start a fetch unless one runs, and return it."""
        with self._lock:
            return self._started()

    def _started(self) -> _Fetch:
        """Do what `_start` does. The caller holds the lock."""
        if self._running is None or self._running.age > _ABANDONED:
            self._running = _Fetch(self._work)
            self._running.start()
        return self._running

    def _wait(self, fetch: _Fetch) -> None:
        if not fetch.done.wait(max(0.0, WAIT - fetch.age)):
            self._note_failure(f"no response in {WAIT:g} seconds")

    def _work(self) -> None:
        try:
            keys = KeySet(self._load())
        except Exception as error:  # a thread has no caller that could handle it
            self._note_failure(str(error) if isinstance(error, FetchError) else repr(error))
            return
        with self._lock:
            if self._keys is None or not self._keys.equals(keys):  # tokens checked with the same keys stay valid
                self._keys = keys
            self._fetched, self._failed, self._running = self._clock(), -STALE_MS, None

    def _note_failure(self, problem: str) -> None:
        with self._lock:
            is_first = self._age(self._failed) >= RETRY_MS
            self._failed = self._clock()
            if threading.current_thread() is self._running:
                self._running = None
        if is_first:
            stale = "" if self._keys is None else "; the last keys stay in use"
            logger.warning("The keys of %s cannot be fetched: %s%s", self._name, problem, stale)


class _Fetch(threading.Thread):
    """A fetch of keys on a thread of its own, so that a slow issuer holds no request for longer than `WAIT`."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="flask_convex_http-keys", daemon=True)
        self._work = work
        self.done = threading.Event()
        self._started_at = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started_at

    def run(self) -> None:
        """Fetch, and wake those who wait."""
        try:
            self._work()
        finally:
            self.done.set()


def _public_key(key: dict[str, Any], algorithm: str) -> Any | None:
    """Return the public key of an entry of a JWKS if it may check signatures of an algorithm, or None."""
    kind, curve, fields = _KINDS[algorithm]
    operations = key.get("key_ops", ["verify"])
    if key.get("kty") != kind or key.get("crv") != curve or key.get("use", "sig") != "sig":
        return None
    if key.get("alg", algorithm) != algorithm or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        public = {"kty": kind, **{field: key[field] for field in fields}}  # leaves out a private key sent by mistake
        made = jwt.PyJWK(public, algorithm).key
    except Exception:  # a malformed entry, in whatever way
        return None
    return None if kind == "RSA" and made.key_size < _MIN_RSA_BITS else made
