"""`OIDC` and `CustomJWT`: the issuers whose JWTs an application accepts.

The rules are those of Convex's `auth.config.ts`. A provider is a description; `tokens` checks tokens with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import RegistrationError
from flask_convex_http.identities.fetch import (
    JWKS_TYPES,
    FetchError,
    decode_data_url,
    fetch_json,
    url_problem,
)

if TYPE_CHECKING:
    from flask_convex_http.identities.tokens import Tokens

#: Public-key algorithms only: with a symmetric one the public key itself could sign.
Algorithm = Literal["RS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
_HTTPS = "https://"
_MAX_LEEWAY = 300.0


class AuthProvider:
    """An issuer of JWTs.

    Attributes:
        issuer: The issuer, as tokens name it in `iss`.
        audiences: The accepted values of `aud`; empty for any.
        algorithms: The accepted algorithms of signatures.
        leeway: Seconds that a token is accepted after its expiry.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    leeway: float

    def issues(self, issuer: str) -> bool:
        """Return whether the `iss` of a token is this issuer."""
        return issuer == self.issuer

    def accepts_audience(self, audiences: Sequence[str]) -> bool:
        """Return whether the `aud` of a token, as a list, is accepted."""
        raise NotImplementedError

    def load_keys(self) -> Any:
        """Return the current set of keys of the issuer, as JSON.

        Raises:
            FetchError: The issuer cannot be reached, or responds with something else.
        """
        raise NotImplementedError


class OIDC(AuthProvider):
    """An OpenID Connect provider, such as Clerk, Auth0, Entra or Keycloak.

    The keys come from its discovery document. A token must have exactly this issuer and this audience, `exp` and `sub`.

    Args:
        issuer: The issuer, such as "https://acme.clerk.accounts.dev". A missing `https://` and a slash at the end make
            no difference. `http://` is accepted on loopback only.
        audience: The application's id at the issuer, which must be the only `aud` of a token. With a list, each `aud`
            of a token must be in it.
        leeway: How long a token is accepted after its expiry, as a timedelta or seconds. None by default, as in Convex.

    Raises:
        RegistrationError: An argument is invalid, or the extra `jwt` is not installed.
    """

    def __init__(self, issuer: str, *, audience: str | Sequence[str], leeway: timedelta | float = 0) -> None:
        _require_library()
        given = _with_scheme(_checked_text("issuer", issuer))
        _check_url("issuer", given)
        self.issuer = given.rstrip("/")
        self.audiences = _checked_audience(audience)
        if not self.audiences:
            raise RegistrationError('OIDC(audience=...) is needed, the id of your app at the issuer: audience="convex"')
        self.algorithms = ALGORITHMS
        self.leeway = _checked_leeway(leeway)

    def __repr__(self) -> str:
        return f"OIDC({self.issuer!r}, audience={sorted(self.audiences)})"

    def issues(self, issuer: str) -> bool:
        """Return whether the `iss` of a token is this issuer, regardless of `https://` and a slash at the end."""
        return issuer == self.issuer or _with_scheme(issuer.rstrip("/")) == self.issuer

    def accepts_audience(self, audiences: Sequence[str]) -> bool:
        """Return whether a token is for this application, and for no other."""
        return bool(audiences) and self.audiences.issuperset(audiences)

    def load_keys(self) -> Any:
        """Fetch the discovery document, and then the keys that it names."""
        url = f"{self.issuer}/.well-known/openid-configuration"
        found = fetch_json(url)
        named = found.get("issuer") if isinstance(found, dict) else None
        if not isinstance(named, str) or not self.issues(named):
            raise FetchError(f"{url} is of another issuer, {named!r}")
        jwks_uri = found.get("jwks_uri")
        problem = url_problem(jwks_uri) if isinstance(jwks_uri, str) else "is missing"
        if problem is None and jwks_uri.startswith("http:") and self.issuer.startswith(_HTTPS):
            problem = "must start with https://, as the issuer does"
        if problem is not None:
            raise FetchError(f"the jwks_uri of {url} {problem}")
        return fetch_json(jwks_uri)


class CustomJWT(AuthProvider):
    """An issuer of JWTs that is no OpenID Connect provider, such as an application of your own.

    Args:
        issuer: The value of `iss`, compared exactly.
        jwks: The URL of the keys, or a `data:` URL that holds them. The response must be `application/json` or
            `application/jwk-set+json`. `http://` is accepted on loopback only.
        algorithm: The algorithm of signatures: "RS256", "ES256" or "EdDSA".
        audience: A value that `aud` must contain, or several of which it must contain one. Without it tokens for
            every audience are accepted. Name it if other applications share the issuer.
        leeway: How long a token is accepted after its expiry, as a timedelta or seconds; 5 seconds by default.

    Raises:
        RegistrationError: An argument is invalid, or the extra `jwt` is not installed.
    """

    def __init__(
        self,
        *,
        issuer: str,
        jwks: str,
        algorithm: Algorithm,
        audience: str | Sequence[str] | None = None,
        leeway: timedelta | float = 5,
    ) -> None:
        _require_library()
        self.issuer = _checked_text("issuer", issuer)
        self._url = _checked_text("jwks", jwks)
        self._keys = decode_data_url(self._url) if self._url.startswith("data:") else None
        if self._keys is None:
            _check_url("jwks", self._url)
        if algorithm not in ALGORITHMS:
            raise RegistrationError(
                f"algorithm={algorithm!r} must be one of {', '.join(ALGORITHMS)}: with a symmetric algorithm, whoever "
                "can check a token can make one"
            )
        self.algorithms = (algorithm,)
        self.audiences = frozenset() if audience is None else _checked_audience(audience)
        self.leeway = _checked_leeway(leeway)

    def __repr__(self) -> str:
        return f"CustomJWT(issuer={self.issuer!r}, audience={sorted(self.audiences)})"

    def accepts_audience(self, audiences: Sequence[str]) -> bool:
        """Return whether a token is for this application, among others."""
        return not self.audiences or not self.audiences.isdisjoint(audiences)

    def load_keys(self) -> Any:
        """Fetch the keys."""
        return fetch_json(self._url, JWKS_TYPES) if self._keys is None else self._keys


def checked_providers(providers: Any) -> tuple[AuthProvider, ...]:
    """Return the value of `auth_providers=` as a tuple.

    Raises:
        RegistrationError: It is no list of providers.
    """
    if isinstance(providers, AuthProvider):
        raise RegistrationError("auth_providers= takes a list: write auth_providers=[OIDC(...)]")
    found = tuple(providers)
    for provider in found:
        if not isinstance(provider, AuthProvider):
            raise RegistrationError(f"auth_providers= takes OIDC(...) and CustomJWT(...), not {provider!r}")
    return found


def token_checks(providers: Sequence[AuthProvider], clock: Callable[[], float]) -> Tokens | None:
    """Return the checks of JWTs, or None without providers: then PyJWT is not imported."""
    if not providers:
        return None
    from flask_convex_http.identities.tokens import Tokens

    return Tokens(checked_providers(providers), clock)


def _require_library() -> None:
    try:
        import cryptography
        import jwt
    except ImportError as error:
        raise RegistrationError(
            "JWTs need PyJWT and cryptography: pip install 'pyjwt>=2.10' 'cryptography>=42'"
        ) from error
    assert jwt and cryptography


def _with_scheme(issuer: str) -> str:
    return issuer if "://" in issuer else _HTTPS + issuer


def _checked_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RegistrationError(f"{name}={value!r} must be a text that is not empty")
    return value.strip()


def _check_url(name: str, url: str) -> None:
    problem = url_problem(url)
    if problem is not None:
        raise RegistrationError(f"{name}={url!r} {problem}")


def _checked_audience(audience: Any) -> frozenset[str]:
    given = [audience] if isinstance(audience, str) else list(audience)
    return frozenset(_checked_text("audience", value) for value in given)


def _checked_leeway(leeway: Any) -> float:
    seconds = seconds_of(leeway)
    if not 0 <= seconds <= _MAX_LEEWAY:
        raise RegistrationError(f"leeway={leeway!r} must be a timedelta or seconds, 0 to {_MAX_LEEWAY:g}")
    return float(seconds)
