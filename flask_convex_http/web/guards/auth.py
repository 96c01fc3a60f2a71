"""`@require_api_key`, `@require_bearer` and `@require_identity`: authentication before a handler runs.

Put them below the route, so that the route calls them. CORS responds to preflights before they run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, overload

import msgspec
from flask import Request, Response

from flask_convex_http.backend import Backend
from flask_convex_http.errors import AuthenticationError, RegistrationError
from flask_convex_http.functions.function import QueryFunction
from flask_convex_http.identities import UserIdentity
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.documents import Document
from flask_convex_http.web.guards.request_identity import (
    Identify,
    api_key_header,
    bearer_token,
    by_any,
    by_api_key,
    by_bearer,
)
from flask_convex_http.web.handlers.handlers import uniform
from flask_convex_http.web.handlers.innermost import inner_call
from flask_convex_http.web.handlers.operations import Guard
from flask_convex_http.web.handlers.route_checks import GUARDED, refuse_above_route
from flask_convex_http.web.handlers.signatures import own_wrapper
from flask_convex_http.web.requests.request_ids import id_of
from flask_convex_http.web.responses.challenges import ANY, API_KEY, BEARER, Challenge
from flask_convex_http.web.responses.responses import error_response
from flask_convex_http.web.state import current_backend, site_of

P = ParamSpec("P")
R = TypeVar("R")
Validate = QueryFunction[..., Any] | str
#: The status of the response to an invalid credential.
InvalidStatus = Literal[401, 403]
#: The attribute of a guarded handler for `run_of`.
_RUN = "__convex_guarded_run__"


@overload
def require_api_key(handler: Callable[P, R], /) -> Callable[P, R | Response]: ...
@overload
def require_api_key(
    *, scopes: Sequence[str] = (), validate: Validate | None = None, invalid_status: InvalidStatus | None = None
) -> Callable[[Callable[P, R]], Callable[P, R | Response]]: ...
def require_api_key(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    scopes: Sequence[str] = (),
    validate: Validate | None = None,
    invalid_status: InvalidStatus | None = None,
) -> Any:
    """Require a valid API key, in `X-API-Key` or as `Authorization: Bearer`.

    The responses are 401 `Missing API key`, 403 `Invalid API key` and 403 `Insufficient scope`, with
    `WWW-Authenticate`. In the handler `ctx.identity` is the identity of the key.

    Args:
        handler: The handler, if the decorator is used without parentheses.
        scopes: The scopes that the key must have, all of them.
        validate: A query of the application that takes the value of `X-API-Key` and returns a `UserIdentity`, a
            document, a dict with a `subject`, or None. By default the built-in keys are checked.
        invalid_status: The status for an invalid key, 401 or 403. By default the setting
            CONVEX_INVALID_CREDENTIAL_STATUS, which is 403.

    Raises:
        RegistrationError: The decorator is above the route, or an argument is invalid.
    """
    identify = by_api_key if validate is None else _by_query(validate, api_key_header)
    guard = _Guard("api_key", identify, API_KEY, scopes, invalid_status)
    return guard if handler is None else guard(handler)


@overload
def require_bearer(handler: Callable[P, R], /) -> Callable[P, R | Response]: ...
@overload
def require_bearer(
    *, scopes: Sequence[str] = (), validate: Validate | None = None, invalid_status: InvalidStatus | None = None
) -> Callable[[Callable[P, R]], Callable[P, R | Response]]: ...
def require_bearer(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    scopes: Sequence[str] = (),
    validate: Validate | None = None,
    invalid_status: InvalidStatus | None = None,
) -> Any:
    """Require a valid access token or JWT in `Authorization: Bearer`.

    The responses are 401 `Missing or invalid Authorization header`, 403 `Invalid token` and 403 `Insufficient scope`,
    with `WWW-Authenticate`. In the handler `ctx.identity` is the identity of the token.

    Args:
        handler: The handler, if the decorator is used without parentheses.
        scopes: The scopes that the token must have, all of them.
        validate: A query of the application that takes the token and returns a `UserIdentity`, a document, a dict with
            a `subject`, or None. By default the built-in tokens and the JWTs of `auth_providers=` are checked.
        invalid_status: The status for an invalid token, 401 or 403. By default the setting
            CONVEX_INVALID_CREDENTIAL_STATUS, which is 403.

    Raises:
        RegistrationError: The decorator is above the route, or an argument is invalid.
    """
    identify = by_bearer if validate is None else _by_query(validate, bearer_token)
    guard = _Guard("bearer", identify, BEARER, scopes, invalid_status)
    return guard if handler is None else guard(handler)


@overload
def require_identity(handler: Callable[P, R], /) -> Callable[P, R | Response]: ...
@overload
def require_identity(
    *, scopes: Sequence[str] = (), invalid_status: InvalidStatus | None = None
) -> Callable[[Callable[P, R]], Callable[P, R | Response]]: ...
def require_identity(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    scopes: Sequence[str] = (),
    invalid_status: InvalidStatus | None = None,
) -> Any:
    """Require a valid credential of any kind: an API key, an access token or a JWT.

    `Authorization: Bearer` takes each of them, `X-API-Key` an API key. `Authorization` comes first. The responses are
    401 `Missing credentials`, 403 `Invalid credentials` and 403 `Insufficient scope`, with `WWW-Authenticate`.

    Args:
        handler: The handler, if the decorator is used without parentheses.
        scopes: The scopes that the credential must have, all of them.
        invalid_status: The status for an invalid credential, 401 or 403. By default the setting
            CONVEX_INVALID_CREDENTIAL_STATUS, which is 403.

    Raises:
        RegistrationError: The decorator is above the route, or an argument is invalid.
    """
    guard = _Guard("identity", by_any, ANY, scopes, invalid_status)
    return guard if handler is None else guard(handler)


def run_of(handler: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the function behind a handler with a guard around it, or None.

    It takes the backend in place of the ctx, since a guard makes the ctx itself, with the identity that it has found.
    """
    guarded, run = getattr(handler, _RUN, (None, None))
    return run if guarded is handler else None  # another decorator has copied the attribute


@dataclass(frozen=True, slots=True)
class _Guard:
    """The decorator behind the three above.

    Attributes:
        scheme: The name of the scheme, for descriptions of the route.
        identify: Returns the identity of a request, or None without a credential.
        challenge: The texts of the responses.
        scopes: The scopes that the credential must have.
        invalid_status: The status for an invalid credential, or None for the setting.
    """

    scheme: str
    identify: Identify
    challenge: Challenge
    scopes: Sequence[str]
    invalid_status: int | None

    def __post_init__(self) -> None:
        if isinstance(self.scopes, str):
            raise RegistrationError(f"scopes={self.scopes!r} must be a list; write scopes=[{self.scopes!r}]")
        if self.invalid_status not in (None, 401, 403):
            raise RegistrationError(f"invalid_status={self.invalid_status!r} must be 401 or 403")
        object.__setattr__(self, "scopes", tuple(self.scopes))

    def __call__(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        refuse_above_route(handler, "check")
        handler = uniform(handler)
        call, admit, scopes = inner_call(handler), self._admit, frozenset(self.scopes)

        def run(backend: Backend, request: Request, *args: Any, **kwargs: Any) -> Any:
            identity = admit(backend, request)
            if isinstance(identity, Response):
                return identity
            if not scopes.issubset(identity.scopes):
                return self._reject("Insufficient scope", 403, "insufficient_scope")
            environ = request.environ
            known = backend.ctx(identity, site=lambda: site_of(request), request_id=id_of(environ))
            return call(environ, known, request, *args, **kwargs)

        @functools.wraps(handler)
        def guarded(ctx: ActionCtx, request: Request, *args: Any, **kwargs: Any) -> Any:
            return run(current_backend(), request, *args, **kwargs)

        guard = Guard(self.scheme, tuple(sorted(scopes)))
        setattr(guarded, GUARDED, (*getattr(handler, GUARDED, ()), guard))
        setattr(guarded, _RUN, (guarded, run))
        own_wrapper(guarded)
        return guarded

    def _admit(self, backend: Backend, request: Request) -> UserIdentity | Response:
        """Return the identity of a request, or the response to one without a valid credential."""
        try:
            identity = self.identify(backend, request)
        except AuthenticationError as error:
            status = self.invalid_status or backend.settings.invalid_credential_status
            return self._reject(self.challenge.invalid, status, "invalid_token", error.description)
        return self._reject(self.challenge.missing, 401) if identity is None else identity

    def _reject(self, message: str, status: int, error: str | None = None, description: str | None = None) -> Response:
        return error_response(message, status, self.challenge.headers(error, self.scopes, description))


# --- validate= --------------------------------------------------------------------------------------------------------


def _by_query(validate: Validate, credential_of: Callable[[Request], str | None]) -> Identify:
    """Return a function that lets a query of the application check the credential."""

    def identify(backend: Backend, request: Request) -> UserIdentity | None:
        credential = credential_of(request)
        if credential is None:
            return None
        query: Any = backend.functions.resolve(validate, "query")
        parameter = next(iter(query.parameters), None)
        if parameter is None:
            raise RegistrationError(f"{query.name} must take the credential: def {query.__name__}(ctx, *, token: str)")
        found = _identity(backend.ctx(site=lambda: site_of(request)).run_query(query, **{parameter: credential}))
        if found is None:
            raise AuthenticationError(f"{query.name} found no identity")
        return found

    return identify


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
