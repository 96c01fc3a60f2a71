"""The claims of a JWT: their checks, and the `UserIdentity` that they make.

PyJWT checks claims too, but by the system's clock instead of the deployment's, and without Convex's rules for audiences
and for times in the future.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from flask_convex_http.errors import AuthenticationError
from flask_convex_http.identities.providers import AuthProvider
from flask_convex_http.identities.user_identity import UserIdentity

Claims = dict[str, Any]

#: Seconds that `iat` and `nbf` may be in the future.
_FUTURE = 5.0
_LONGEST = 2000

#: The fields of an identity that a standard claim of another name sets (OpenID Connect Core, 5.1).
_TEXTS = {
    "name": "name",
    "email": "email",
    "given_name": "given_name",
    "family_name": "family_name",
    "nickname": "nickname",
    "preferred_username": "preferred_username",
    "profile": "profile_url",
    "picture": "picture_url",
    "website": "website_url",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phone_number",
}
_SWITCHES = ("email_verified", "phone_number_verified")


def audiences_of(claims: Claims) -> list[str]:
    """Return the `aud` of a token as a list; empty if there is none, or if it is no text.

    Args:
        claims: The claims.
    """
    given = claims.get("aud")
    listed: list[Any] = given if isinstance(given, list) else [given]
    return listed if all(isinstance(value, str) for value in listed) else []


def check_times(claims: Claims, provider: AuthProvider, now: float) -> float:
    """Check the times of a token.

    Args:
        claims: The claims.
        provider: The issuer.
        now: The time in seconds since the epoch.

    Returns:
        The time from which the token is no longer accepted, in seconds since the epoch.

    Raises:
        AuthenticationError: It has expired or is not valid yet, or a time is missing or no number.
    """
    expiry = _time(claims, "exp")
    if expiry is None:
        raise AuthenticationError("The token has no exp")
    end = expiry + provider.leeway
    if now >= end:
        raise AuthenticationError(
            f"The token expired {now - expiry:.0f} seconds ago", description="The token has expired"
        )
    for name in ("nbf", "iat"):
        begin = _time(claims, name)
        if begin is not None and begin > now + _FUTURE:
            raise AuthenticationError(
                f"The token will be valid in {begin - now:.0f} seconds ({name})",
                description="The token is not valid yet",
            )
    return end


def identity_of(claims: Claims, issuer: str) -> UserIdentity:
    """Return the identity of a token whose signature, audience and times are valid.

    Args:
        claims: The claims.
        issuer: The issuer.

    Raises:
        AuthenticationError: The token has no subject.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST:
        raise AuthenticationError("The token has no sub, or one that is no text")
    fields: Claims = {field: claims[claim] for claim, field in _TEXTS.items() if isinstance(claims.get(claim), str)}
    fields |= {name: claims[name] for name in _SWITCHES if isinstance(claims.get(name), bool)}
    address = claims.get("address")
    formatted = address.get("formatted") if isinstance(address, dict) else address
    if isinstance(formatted, str):
        fields["address"] = formatted
    return UserIdentity(
        subject=subject,
        issuer=issuer,
        scopes=_scopes(claims),
        claims=claims,
        updated_at=_updated_at(claims.get("updated_at")),
        **fields,
    )


def _scopes(claims: Claims) -> tuple[str, ...]:
    """Return the scopes of a token: those of `scope` (RFC 8693), `scp` (Entra, Okta) and `permissions` (Auth0)."""
    found: dict[str, None] = {}
    for name in ("scope", "scp", "permissions"):
        value = claims.get(name)
        listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
        found |= dict.fromkeys(scope for scope in listed if isinstance(scope, str) and scope)
    return tuple(found)


def _updated_at(value: Any) -> str | None:
    """Return the time of a change as text. OpenID Connect has seconds since the epoch, some issuers have a text."""
    if isinstance(value, str):
        return value
    seconds = _number(value)
    if seconds is None or not 0 <= seconds < 253_402_300_800:  # the year 10000
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _time(claims: Claims, name: str) -> float | None:
    if name not in claims:
        return None
    value = _number(claims[name])
    if value is None:
        raise AuthenticationError(f"The {name} of the token is no number")
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
