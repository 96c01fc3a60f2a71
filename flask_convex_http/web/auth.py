"""`@require_api_key` and `@require_bearer`: authentication before a handler runs.

Put them below the route, so that the route calls them. CORS responds to preflights before they run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import msgspec
from flask import Request, Response, after_this_request

from flask_convex_http.backend import Backend
from flask_convex_http.credentials import Credentials, UserIdentity
from flask_convex_http.errors import RegistrationError
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.documents import Document
from flask_convex_http.schema.system_tables import AccessToken, ApiKey
from flask_convex_http.web.challenges import API_KEY, BEARER, Challenge
from flask_convex_http.web.handlers import uniform
from flask_convex_http.web.innermost import inner_call
from flask_convex_http.web.operations import Guard
from flask_convex_http.web.responses import error_response
from flask_convex_http.web.route_checks import GUARDED, refuse_above_route
from flask_convex_http.web.signatures import own_wrapper
from flask_convex_http.web.state import current_backend, site_of

P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[Concatenate[ActionCtx, Request, P], R]
Validate = QueryFunction[..., Any] | str

#: Returns the identity of a credential, or None.
_Check = Callable[[Backend, ActionCtx, str], UserIdentity | None]


@overload
def require_api_key(handler: Handler[P, R], /) -> Handler[P, R | Response]: ...
@overload
def require_api_key(
    *, scopes: Sequence[str] = (), validate: Validate | None = None
) -> Callable[[Handler[P, R]], Handler[P, R | Response]]: ...
def require_api_key(
    handler: Callable[..., Any] | None = None, /, *, scopes: Sequence[str] = (), validate: Validate | None = None
) -> Any:
    """Require a valid `X-API-Key` header.

    The responses are 401 `Missing API key`, 403 `Invalid API key` and 403 `Insufficient scope`, with
    `WWW-Authenticate`.

    Args:
        handler: The handler, if the decorator is used without parentheses.
        scopes: The scopes that the key must have, all of them.
        validate: A query of the application that takes the key and returns a `UserIdentity`, a document, a dict with
            a `subject`, or None. By default the built-in keys are checked.

    Raises:
        RegistrationError: The decorator is above the route, or an argument is invalid.
    """
    check = _app_check(validate) if validate is not None else _check_api_key

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        return _guard(handler, _api_key_of, check, API_KEY, _scopes(scopes))

    return decorate if handler is None else decorate(handler)


@overload
def require_bearer(handler: Handler[P, R], /) -> Handler[P, R | Response]: ...
@overload
def require_bearer(
    *, scopes: Sequence[str] = (), validate: Validate | None = None
) -> Callable[[Handler[P, R]], Handler[P, R | Response]]: ...
def require_bearer(
    handler: Callable[..., Any] | None = None, /, *, scopes: Sequence[str] = (), validate: Validate | None = None
) -> Any:
    """Require a valid `Authorization: Bearer` header.

    The responses are 401 `Missing or invalid Authorization header`, 403 `Invalid token` and 403 `Insufficient scope`,
    with `WWW-Authenticate`.

    Args:
        handler: The handler, if the decorator is used without parentheses.
        scopes: The scopes that the token must have, all of them.
        validate: A query of the application that takes the token and returns a `UserIdentity`, a document, a dict with
            a `subject`, or None. By default the built-in tokens are checked.

    Raises:
        RegistrationError: The decorator is above the route, or an argument is invalid.
    """
    check = _app_check(validate) if validate is not None else _check_token

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        return _guard(handler, _bearer_of, check, BEARER, _scopes(scopes))

    return decorate if handler is None else decorate(handler)


def _guard(
    handler: Callable[..., Any],
    credential_of: Callable[[Request], str | None],
    check: _Check,
    challenge: Challenge,
    scopes: frozenset[str],
) -> Callable[..., Any]:
    refuse_above_route(handler, "check")
    handler = uniform(handler)
    call = inner_call(handler)

    @functools.wraps(handler)
    def guarded(ctx: ActionCtx, request: Request, *args: Any, **kwargs: Any) -> Any:
        credential = credential_of(request)
        if credential is None:
            return error_response(challenge.missing, 401, challenge.headers(scopes=scopes))
        backend = current_backend()
        identity = check(backend, ctx, credential)
        if identity is None:
            return error_response(challenge.invalid, 403, challenge.headers("invalid_token", scopes))
        if not scopes.issubset(identity.scopes):
            return error_response("Insufficient scope", 403, challenge.headers("insufficient_scope", scopes))
        known = backend.ctx(identity, site=lambda: site_of(request))
        return call(request.environ, known, request, *args, **kwargs)

    guard = Guard("api_key" if challenge is API_KEY else "bearer", tuple(sorted(scopes)))
    setattr(guarded, GUARDED, (*getattr(handler, GUARDED, ()), guard))
    own_wrapper(guarded)
    return guarded


def _scopes(scopes: Sequence[str]) -> frozenset[str]:
    if isinstance(scopes, str):
        raise RegistrationError(f"scopes={scopes!r} must be a list; write scopes=[{scopes!r}]")
    return frozenset(scopes)


# --- credentials ------------------------------------------------------------------------------------------------------


def _api_key_of(request: Request) -> str | None:
    return request.environ.get("HTTP_X_API_KEY") or None  # a tenth of the time of request.headers


def _bearer_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


# --- identities -------------------------------------------------------------------------------------------------------


def _check_api_key(backend: Backend, ctx: ActionCtx, key: str) -> UserIdentity | None:
    credentials: Credentials[ApiKey] = backend.api_keys
    found = credentials.verify(key)
    if found is None:
        return None
    _record_use_later(credentials)
    return UserIdentity(subject=found.id, issuer="api_key", name=found.name, scopes=tuple(found.scopes))


def _check_token(backend: Backend, ctx: ActionCtx, token: str) -> UserIdentity | None:
    credentials: Credentials[AccessToken] = backend.tokens
    found = credentials.verify(token)
    if found is None:
        return None
    _record_use_later(credentials)
    return UserIdentity(subject=found.subject, issuer="access_token", scopes=tuple(found.scopes))


def _record_use_later(credentials: Credentials[Any]) -> None:
    """Record the use of keys after the response, about once a minute for each key."""
    if not credentials.use_is_due():
        return

    def after(response: Response) -> Response:
        response.call_on_close(credentials.record_use)
        return response

    after_this_request(after)


def _app_check(validate: Validate) -> _Check:
    def check(backend: Backend, ctx: ActionCtx, credential: str) -> UserIdentity | None:
        query: Any = backend.functions.resolve(validate, "query")
        parameter = next(iter(query.parameters), None)
        if parameter is None:
            raise RegistrationError(f"{query.name} must take the credential: def {query.__name__}(ctx, *, token: str)")
        return _identity(ctx.run_query(query, **{parameter: credential}))

    return check


def _identity(found: Any) -> UserIdentity | None:
    """Return the identity that the application's own query has found, or None.

    The subject of a document is its id. A dict must have a `subject`.
    """
    if found is None or found is False:
        return None
    if isinstance(found, UserIdentity):
        return found
    if isinstance(found, Document):
        claims = msgspec.to_builtins(found)
        return UserIdentity(subject=found.id, issuer="app", name=getattr(found, "name", None), claims=claims)
    if isinstance(found, dict) and isinstance(found.get("subject"), str):
        issuer, scopes = str(found.get("issuer", "app")), tuple(found.get("scopes") or ())
        return UserIdentity(subject=found["subject"], issuer=issuer, scopes=scopes, claims=found)
    raise TypeError("The validate= query must return a UserIdentity, a document, a dict with a subject, or None")
