"""A provider for senders that send a JWT, whose public keys they publish as a JWKS (Google Pub/Sub push).

The keys are fetched from one URL of the configuration, never from one that a delivery names. Redirects are not
followed, and a fetch has a timeout and a size limit. The keys are cached, one fetch runs at a time, and an unknown key
id causes one now and then; see `identities.key_cache`, which the auth providers use too. Verification precedes the
transaction, so no lock is held during a fetch.

PyJWT and `cryptography` (the extra `[jwt]`) are imported when a delivery is first verified.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Unpack

from flask_convex_http.errors import (
    AuthenticationError,
    AuthProviderError,
    RegistrationError,
    VerificationError,
    VerificationUnavailableError,
)
from flask_convex_http.identities.fetch import fetch_json, url_problem
from flask_convex_http.webhooks.configured import ConfiguredProvider, EventOptions, check_places
from flask_convex_http.webhooks.events import Delivery
from flask_convex_http.webhooks.jws import Jws, require_pyjwt

if TYPE_CHECKING:
    from flask_convex_http.identities.key_cache import KeyCache

Algorithm = Literal["RS256", "ES256", "EdDSA"]

_ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
_LONGEST_TOKEN = 16 * 1024


class JwtSignature(ConfiguredProvider):
    """Webhooks with a JWT in a header, verified with the sender's published keys.

    Most such tokens do not cover the body: whoever has one can send other bodies until it expires. `body_claim` names
    the claim of a sender that signs the body's digest.

    Args:
        jwks: The URL of the sender's keys (RFC 7517): `https://`, or `http://` on loopback.
        audience: The audience that a token must have, usually the URL of the webhook or an id that you chose.
        issuer: The issuer that a token must have.
        algorithm: RS256, ES256 or EdDSA. The token does not choose.
        claims: Further claims and the values that they must have, such as `{"email": "..."}`.
        body_claim: The claim with the SHA-256 of the body in hex, such as `request_body_sha256`.
        header: The header with the token.
        prefix: The text before it.
        tolerance: How long a token is accepted after it has expired, for clocks that differ.
        **options: See `EventOptions`.

    Raises:
        RegistrationError: A choice is invalid, or does not fit the others.
    """

    name = "jwt"
    has_secrets = False

    def __init__(
        self,
        *,
        jwks: str,
        audience: str,
        issuer: str,
        algorithm: Algorithm = "RS256",
        claims: Mapping[str, object] | None = None,
        body_claim: str | None = None,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        tolerance: timedelta = timedelta(minutes=1),
        **options: Unpack[EventOptions],
    ) -> None:
        problem = url_problem(jwks)
        if problem is not None:
            raise RegistrationError(f"jwks={jwks!r} {problem}")
        if algorithm not in _ALGORITHMS:
            raise RegistrationError(f"algorithm must be one of {', '.join(_ALGORITHMS)}, not {algorithm!r}")
        if not audience or not issuer:
            raise RegistrationError("audience and issuer must be given: else a token for another receiver is accepted")
        if options.get("id_header") is not None:
            raise RegistrationError("a JWT signs no header: write unsigned_id_header= instead of id_header=")
        check_places(options)
        self._jwks, self._audience, self._issuer = jwks, audience, issuer
        self._algorithm: str = algorithm
        self._claims = dict(claims or {})
        self._body_claim = body_claim
        self._token_header, self._prefix = header, prefix
        self.credential_headers = frozenset({header.lower()})
        signed = ("body", header) if body_claim else (header,)
        is_signed = body_claim is not None
        super().__init__(
            secret=None, signed=signed, needed=(header,), tolerance=tolerance, id_is_signed=is_signed, **options
        )

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether the token of a delivery is valid. This may fetch the sender's keys."""
        token = delivery.header(self._token_header)
        if not token.startswith(self._prefix):
            raise VerificationError("malformed", f"{self._token_header} header is malformed")
        claims = self._verified(checked_token(token.removeprefix(self._prefix)), delivery)
        if claims is None or any(claims.get(name) != value for name, value in self._claims.items()):
            return False
        if self._body_claim is None:
            return True
        digest = hashlib.sha256(delivery.body).hexdigest()
        return hmac.compare_digest(str(claims.get(self._body_claim)).encode("utf-8", "replace"), digest.encode())

    def _verified(self, token: str, delivery: Delivery) -> dict[str, Any] | None:
        """Return the claims of a token, or None if it is not valid."""
        jws = Jws.of(token)
        key_id = jws.header.get("kid")
        if not jws.names(self._algorithm) or not isinstance(key_id, str):
            return None
        # Before the network: an old token, or one for another receiver, is not worth a fetch.
        self._check(jws.claims, delivery.now)
        try:
            key = self._key(key_id, may_fetch=delivery.may_fetch)
        except AuthenticationError:
            return None
        except AuthProviderError as error:
            raise VerificationUnavailableError(str(error)) from error
        return self._decoded(token, key, delivery.now) if jws.is_signed(self._algorithm, key) else None

    def _key(self, key_id: str, *, may_fetch: bool) -> Any:
        cache = self._cache
        return cache.find(key_id, self._algorithm)[0] if may_fetch else cache.known(key_id, self._algorithm)

    def _check(self, claims: Mapping[str, Any], now: float) -> None:
        """Check claims that anyone may have written.

        Raises:
            VerificationError: They are for another receiver, or have expired.
        """
        audience, expires = claims.get("aud"), claims.get("exp")
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise VerificationError("malformed", "Webhook token has no exp")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self._issuer or self._audience not in audiences:
            raise VerificationError("no-match", "Webhook token is not for this receiver")
        if not now - expires * 1000 <= self._tolerance.past:
            raise VerificationError("too-old", "Webhook token has expired")

    def _decoded(self, token: str, key: Any, now: float) -> dict[str, Any]:
        """Return the claims of a token as PyJWT verifies them.

        Raises:
            VerificationError: They are for another receiver, or have expired.
        """
        jwt = require_pyjwt()
        checks: dict[str, Any] = {
            **{f"verify_{name}": False for name in ("exp", "nbf", "iat")},
            **{f"verify_{name}": True for name in ("signature", "aud", "iss")},
            "require": ["exp", "aud", "iss"],
        }
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                options=checks,
                audience=self._audience,
                issuer=self._issuer,
            )
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError, jwt.InvalidSignatureError) as error:
            raise VerificationError("no-match", "Webhook token is not for this receiver or not valid") from error
        self._check(claims, now)
        return claims

    @functools.cached_property
    def _cache(self) -> KeyCache:
        from flask_convex_http.identities.key_cache import KeyCache

        return KeyCache(self._issuer, lambda: fetch_json(self._jwks), lambda: time.time() * 1000)


def checked_token(token: str) -> str:
    """Return a token that is short enough to be decoded.

    Raises:
        VerificationError: It is too long, or has characters that no token has.
    """
    if len(token) > _LONGEST_TOKEN or not token.isascii():
        raise VerificationError("malformed", "Webhook token is malformed")
    return token
