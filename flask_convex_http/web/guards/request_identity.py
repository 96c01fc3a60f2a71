"""The identity of a request: its credential, and the check of it.

A credential is an API key, an access token or a JWT. Each check returns the identity or raises `AuthenticationError`
with the reason, which the log shows and the client does not see.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Request, Response, after_this_request, has_request_context

from flask_convex_http.backend import Backend
from flask_convex_http.credentials import Credentials
from flask_convex_http.errors import AuthenticationError
from flask_convex_http.identities import UserIdentity
from flask_convex_http.runtime import Auth, PendingAuth
from flask_convex_http.schema.system_tables import AccessToken, ApiKey

#: Returns the identity of a request, or None without a credential. Raises `AuthenticationError` for an invalid one.
Identify = Callable[[Backend, Request], UserIdentity | None]

_ANONYMOUS = Auth()
_UNKNOWN_KEY = "The API key is unknown, expired or revoked"


def request_auth(backend: Backend, request: Request) -> Auth:
    """Return the `ctx.auth` of a request, which checks the credential when it is asked for the identity."""
    environ = request.environ
    if "HTTP_AUTHORIZATION" not in environ and "HTTP_X_API_KEY" not in environ:
        return _ANONYMOUS
    return PendingAuth(partial(_identify, backend, request))


def api_key_header(request: Request) -> str | None:
    """Return the value of `X-API-Key`, or None."""
    return request.environ.get("HTTP_X_API_KEY") or None  # a tenth of the time of request.headers


def bearer_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer`, or None for another scheme or no token."""
    scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def by_api_key(backend: Backend, request: Request) -> UserIdentity | None:
    """Return the identity of an API key in either header, or None without one. `X-API-Key` comes first.

    Raises:
        AuthenticationError: The key is not valid.
    """
    key = api_key_header(request) or bearer_token(request)
    return None if key is None else identify_key(backend, key)


def by_bearer(backend: Backend, request: Request) -> UserIdentity | None:
    """Return the identity of an access token or a JWT, or None without one.

    Raises:
        AuthenticationError: The token is not valid.
    """
    token = bearer_token(request)
    return None if token is None else _check_token(backend, token)


def by_any(backend: Backend, request: Request) -> UserIdentity | None:
    """Return the identity of a credential of any kind, or None without one. `Authorization` comes first.

    Raises:
        AuthenticationError: The credential is not valid.
    """
    token = bearer_token(request)
    if token is None:
        key = api_key_header(request)
        return None if key is None else identify_key(backend, key)
    return identify_token(backend, token)


def identify_token(backend: Backend, token: str) -> UserIdentity:
    """Return the identity of a credential that was sent as a Bearer token: an API key, an access token or a JWT.

    Raises:
        AuthenticationError: The credential is not valid.
    """
    is_key = token.startswith(f"{backend.api_keys.prefix}_")
    return (identify_key if is_key else _check_token)(backend, token)


def identify_key(backend: Backend, key: str) -> UserIdentity:
    """Return the identity of an API key.

    The subject is the owner of the key, or the id of a key without an owner.

    Raises:
        AuthenticationError: The key is not valid.
    """
    credentials: Credentials[ApiKey] = backend.api_keys
    found = credentials.verify(key)
    if found is None:
        raise AuthenticationError(_UNKNOWN_KEY, "Invalid API key")
    _record_use_later(credentials)
    subject, claims = (found.id, {}) if found.owner is None else (found.owner, {"key_id": found.id})
    return UserIdentity(subject=subject, issuer="api_key", name=found.name, scopes=tuple(found.scopes), claims=claims)


def _check_token(backend: Backend, token: str) -> UserIdentity:
    """Return the identity of an access token or a JWT.

    The claims of an access token with a name have its id, as those of an API key with an owner do.

    Raises:
        AuthenticationError: The token is not valid.
    """
    if backend.jwts is not None and "." in token:  # no access token has a dot
        return backend.jwts.identify(token)
    credentials: Credentials[AccessToken] = backend.tokens
    found = credentials.verify(token)
    if found is None:
        raise AuthenticationError("The access token is unknown, expired or revoked")
    _record_use_later(credentials)
    claims = {} if found.name is None else {"token_id": found.id}
    return UserIdentity(subject=found.subject, issuer="access_token", scopes=tuple(found.scopes), claims=claims)


def _identify(backend: Backend, request: Request) -> UserIdentity | None:
    """Return the identity of a request, or None if it has no credential.

    Raises:
        AuthenticationError: The credential is not valid, or is of another scheme.
    """
    if bearer_token(request) is None and request.environ.get("HTTP_AUTHORIZATION", "").strip():
        raise AuthenticationError("The Authorization header has no Bearer token")
    return by_any(backend, request)


def _record_use_later(credentials: Credentials[Any]) -> None:
    """Record the use of keys after the response if there is one, about once a minute for each key."""
    if not credentials.use_is_due():
        return
    if not has_request_context():  # a client of live queries
        credentials.record_use()
        return

    def after(response: Response) -> Response:
        response.call_on_close(credentials.record_use)
        return response

    after_this_request(after)
