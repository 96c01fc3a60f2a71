"""Check JWTs of the application's providers.

The provider chooses the algorithms, never the token. A token that was checked is remembered until it expires, or until
the issuer's keys change. JWTs cannot be revoked otherwise.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jwt
import msgspec

from flask_convex_http.errors import AuthenticationError
from flask_convex_http.identities.claims import audiences_of, check_times, identity_of
from flask_convex_http.identities.key_cache import KeyCache, KeySet
from flask_convex_http.identities.providers import AuthProvider
from flask_convex_http.identities.user_identity import UserIdentity

#: The longest token in characters. Servers limit headers to about 8 KiB.
_MAX_TOKEN = 16 * 1024
#: The largest number of tokens that are remembered.
_MAX_KNOWN = 1024
_MALFORMED = "The token is no JWT: three base64 parts separated by dots, the first two of JSON objects"


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was checked.

    Attributes:
        identity: Its identity.
        end: When it expires, in milliseconds since the epoch.
        cache: The keys of its issuer.
        keys: Those that its signature was checked with.
    """

    identity: UserIdentity
    end: float
    cache: KeyCache
    keys: KeySet


class Tokens:
    """Checks the JWTs of some providers. Thread-safe.

    Args:
        providers: The providers.
        clock: Returns the current time in milliseconds since the epoch.
    """

    def __init__(self, providers: Sequence[AuthProvider], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._providers = [(provider, KeyCache(provider.issuer, provider.load_keys, clock)) for provider in providers]
        self._known: dict[bytes, _Known] = {}
        self._lock = threading.Lock()

    def identify(self, token: str) -> UserIdentity:
        """Return the identity of a token. This may fetch the keys of its issuer.

        Raises:
            AuthenticationError: The token is not valid.
            AuthProviderError: The keys of its issuer cannot be fetched, and none are known.
        """
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise AuthenticationError(_MALFORMED)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known.end and known.cache.current() is known.keys:
            return known.identity
        return self._check(token, digest)

    def _check(self, token: str, digest: bytes) -> UserIdentity:
        header, claims = _unverified(token)
        provider, cache = self._provider(claims)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in provider.algorithms:
            raise AuthenticationError(f"The algorithm of the token is none of {', '.join(provider.algorithms)}")
        if not isinstance(kid, str) or "crit" in header:  # PyJWT knows no critical parameter
            raise AuthenticationError("The header of the token is missing a 'kid', or has a 'crit'")
        end = check_times(claims, provider, self._clock() / 1000)  # before the network: an old token is not worth it
        key, keys = cache.find(kid, str(algorithm))
        _check_signature(token, key, str(algorithm))
        identity = identity_of(claims, str(claims["iss"]))
        self._remember(digest, _Known(identity, end * 1000, cache, keys))
        return identity

    def _provider(self, claims: dict[str, Any]) -> tuple[AuthProvider, KeyCache]:
        issuer = claims.get("iss")
        if not isinstance(issuer, str):
            raise AuthenticationError("The token names no issuer (iss)")
        audiences = audiences_of(claims)
        for provider, cache in self._providers:
            if provider.issues(issuer) and provider.accepts_audience(audiences):
                return provider, cache
        configured = ", ".join(repr(provider) for provider, _ in self._providers)
        raise AuthenticationError(
            f"No auth provider found matching the given token: iss {issuer[:200]!r}, aud {str(audiences)[:200]}; "
            f"configured providers: {configured}"
        )

    def _remember(self, digest: bytes, known: _Known) -> None:
        with self._lock:
            excess = _MAX_KNOWN // 2 if len(self._known) >= _MAX_KNOWN else 0
            for old in list(islice(self._known, excess)):
                del self._known[old]
            self._known[digest] = known


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a token, which anyone may have written."""
    try:
        parsed = jwt.decode_complete(token, options={"verify_signature": False})
        msgspec.json.encode(parsed["payload"])  # no half of a surrogate pair, which no response and no column can hold
    except Exception:  # PyJWT raises more than its own errors for hostile input
        raise AuthenticationError(_MALFORMED) from None
    header, claims = parsed["header"], parsed["payload"]
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise AuthenticationError(_MALFORMED)
    return header, claims


def _check_signature(token: str, key: Any, algorithm: str) -> None:
    try:
        jwt.PyJWS().decode_complete(token, key, algorithms=[algorithm])
    except Exception:  # see above
        raise AuthenticationError("The signature of the token is not valid") from None
