"""`idempotent=` of a route: the handler runs as one mutation, and its response is stored with the request's key.

The decorators of the handler check the request first. Then the key is looked at, and the body is read before the
transaction begins. What makes a retry is in `idempotency/`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from flask import Flask, Request, Response, current_app

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import FunctionCallError, FunctionLimitError, RegistrationError, RequestError
from flask_convex_http.idempotency.keyed_request import HEADER, RequestContent, keyed_request, parse_key
from flask_convex_http.runtime import ActionCtx, Caller, MutationCtx, caller_of, fresh_arguments
from flask_convex_http.schema.system_tables import StoredResponse
from flask_convex_http.web.handlers.handlers import read_parameters, readers_of
from flask_convex_http.web.handlers.innermost import put_around
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.requests.requests import is_json
from flask_convex_http.web.requests.whole_bodies import read_whole_body, rewind
from flask_convex_http.web.responses.json_responses import JSON, JsonResponse, fields_of
from flask_convex_http.web.responses.responses import to_response
from flask_convex_http.web.responses.stored_responses import as_response
from flask_convex_http.web.state import backend_of

#: The values of `idempotent=` with which a handler runs as one mutation.
OneMutation = Literal[True, "optional"]
IdempotentOption = OneMutation | Literal[False]

#: The header of a response that was stored before.
REPLAYED = "Idempotency-Replayed"
#: What CORS must allow in a request, and expose in a response.
REQUEST_HEADERS = (HEADER,)
RESPONSE_HEADERS = (REPLAYED, "Retry-After")
#: How long a key is kept by default.
KEEP = timedelta(days=1)
_LONGEST_KEEP = timedelta(days=365)
#: Bytes of the largest response that is stored, body and headers.
MAX_RESPONSE_BYTES = 2**20
_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Headers that belong to one connection or to one moment, and the length, which the body has.
_NOT_STORED = frozenset({"connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"})
#: The stored headers of a plain JSON response, and their characters.
_PLAIN: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
_PLAIN_SIZE = len("Content-Type") + len(JSON)


@dataclass(frozen=True, slots=True)
class Idempotent:
    """How a route treats idempotency keys.

    Attributes:
        is_required: Whether a request without a key is 400.
        keep: How long a key is kept, in milliseconds.
    """

    is_required: bool
    keep: float

    @classmethod
    def of(cls, option: IdempotentOption, keep: timedelta | None, methods: Iterable[str]) -> Idempotent | None:
        """Return the checked options of a route, or None without `idempotent=`.

        Args:
            option: The argument `idempotent=`.
            keep: The argument `keep=`.
            methods: The methods of the route.

        Raises:
            RegistrationError: The options cannot work.
        """
        if option is False or option is None:
            if keep is not None:
                raise RegistrationError(
                    f"keep={keep!r} is how long idempotency keys are kept; write idempotent=True too"
                )
            return None
        if option is not True and option != "optional":
            raise RegistrationError(
                f'idempotent={option!r} must be True, or "optional" if clients may leave out the key'
            )
        others = sorted(set(methods) - _METHODS)
        if others:
            raise RegistrationError(
                f"idempotent={option!r} is for POST, PUT, PATCH and DELETE; {', '.join(others)} changes nothing, so "
                "register it as a route of its own"
            )
        kept = KEEP if keep is None else keep
        if not isinstance(kept, timedelta) or not timedelta(0) < kept <= _LONGEST_KEEP:
            raise RegistrationError(f"keep={keep!r} must be a timedelta of more than 0 and at most 365 days")
        return cls(option is True, seconds_of(kept) * 1000.0)

    def wrap(self, handler: Callable[..., Any], status: int) -> Callable[..., Any]:
        """Return a handler that runs as one mutation, after the checks of its decorators.

        Args:
            handler: The handler.
            status: The status of a response for which the handler chooses none.

        Raises:
            RegistrationError: The handler cannot run in a transaction.
        """
        _check_handler(handler)

        def around(handler: Callable[..., Any], ctx: Any, request: Request, /, *args: Any, **values: Any) -> Response:
            return self._run(ctx, request, _Handle(handler, request, args, values, status))

        return put_around(handler, around)

    def _run(self, ctx: ActionCtx, request: Request, handle: _Handle) -> Response:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # of the proxy
        key = parse_key(request.environ.get("HTTP_IDEMPOTENCY_KEY"))
        if key is None and self.is_required:
            raise RequestError(f"{HEADER} is missing; send a text of your own, such as a UUID, for each request", 400)
        backend = backend_of(app)
        caller, identity = _caller(ctx)
        if key is None:
            backend.idempotency.run_once(caller, handle.run_alone, handle.name)
            return handle.response
        keyed = keyed_request(backend.signing, key, identity, _content(request), request_id(request), self.keep)
        answer, is_replay = backend.idempotency.run(keyed, caller, handle, handle.name)
        if not is_replay:
            return handle.response
        response = as_response(app, answer)
        response.headers[REPLAYED] = "true"
        return response


def _content(request: Request) -> RequestContent:
    environ = request.environ
    body = read_whole_body(request)  # read already, before the handler's parameters
    # request.mimetype takes ten times as long as a comparison
    is_like_json = environ.get("CONTENT_TYPE") == "application/json" or is_json(request.mimetype)
    path = request.root_path + request.path
    return RequestContent(request.method, path, environ.get("QUERY_STRING", ""), body, is_like_json)


class _Handle:
    """Runs a handler in a transaction, and returns its response in the form in which it is stored.

    Args:
        handler: The handler.
        request: The request. A second attempt parses its body again, since the first may have changed or read it.
        args: The handler's other arguments.
        values: Its arguments by name.
        status: The status of a response for which the handler chooses none.

    Attributes:
        name: The handler's name.
        response: The response of the last attempt.
    """

    __slots__ = ("_args", "_handler", "_others", "_request", "_runs", "_status", "_values", "name", "response")

    def __init__(
        self,
        handler: Callable[..., Any],
        request: Request,
        args: tuple[Any, ...],
        values: dict[str, Any],
        status: int,
    ) -> None:
        self._handler = handler
        self._request = request
        self._args = args
        self._values = values
        self._others = fresh_arguments(_not_read(handler, request, values))
        self._runs = itertools.count()
        self._status = status
        self.name = str(getattr(handler, "__name__", "handler"))

    def __call__(self, ctx: MutationCtx) -> StoredResponse:
        return _stored(self._run(ctx), self.name)

    def run_alone(self, ctx: MutationCtx) -> int:
        """Run the handler for a request without a key, and return the status of the response, which is not stored."""
        response = self._run(ctx)
        _check_size(len(_body(response, self.name)), self.name)
        return response.status_code

    def _run(self, ctx: MutationCtx) -> Response:
        values = next(self._others)
        if next(self._runs):
            rewind(self._request)
            values = dict(values)
            read_parameters(self._handler, self._request, values)
        else:
            values = self._values
        value = self._handler(ctx, self._request, *self._args, **values)
        self.response = to_response(current_app, value, self._status)
        return self.response


def _not_read(handler: Callable[..., Any], request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not read from the request: variables of its path, and those of decorators."""
    readers = readers_of(handler)
    if not readers:
        return values
    path = request.view_args or {}
    return {name: value for name, value in values.items() if name not in readers or name in path}


def _caller(ctx: ActionCtx) -> tuple[Caller, str | None]:
    """Return the caller of a handler, and its identity as one text.

    The identity is found before the transaction, since that may take a request to an issuer.
    """
    identity = ctx.auth.get_user_identity()
    return caller_of(ctx), None if identity is None else identity.token_identifier


def _stored(response: Response, name: str) -> StoredResponse:
    """Return a response to store.

    Raises:
        FunctionCallError: The response is a stream.
        FunctionLimitError: The response is too large.
    """
    body = _body(response, name)
    if type(response) is JsonResponse and response.is_plain:
        headers, size = _PLAIN, _PLAIN_SIZE
    else:
        headers = tuple([field for field in fields_of(response) if field[0].lower() not in _NOT_STORED])
        size = sum(map(len, itertools.chain.from_iterable(headers)))
    _check_size(len(body) + size, name)
    return StoredResponse(response.status_code, headers, body)


def _body(response: Response, name: str) -> bytes:
    """Return the body of a response. A route without a key must not accept one that is an error with a key.

    Raises:
        FunctionCallError: The response is a stream.
    """
    if response.is_streamed:
        raise FunctionCallError(
            f"{name} has idempotent=, and its response is a stream, which cannot be stored; return the whole body"
        )
    return response.get_data()


def _check_size(size: int, name: str) -> None:
    if size > MAX_RESPONSE_BYTES:
        raise FunctionLimitError(
            f"{name} has idempotent=, and its response of {size} bytes is larger than {MAX_RESPONSE_BYTES}, the most "
            "that is stored; return less, such as an id to read the rest with"
        )


def _check_handler(handler: Callable[..., Any]) -> None:
    name = getattr(handler, "__name__", repr(handler))
    inner = inspect.unwrap(handler)
    if inspect.iscoroutinefunction(inner):
        raise RegistrationError(f"{name} is async, and idempotent= runs it in a transaction: write def")
    annotations = getattr(inner, "__annotations__", {})
    if any(getattr(kind, "__name__", kind) == "ActionCtx" for kind in annotations.values()):
        raise RegistrationError(
            f"{name} has idempotent=, so it runs as one mutation: write ctx: MutationCtx, and schedule an action for "
            "calls to other services"
        )
