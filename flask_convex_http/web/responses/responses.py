"""Make responses: values become JSON, and errors become statuses.

msgspec encodes the JSON, several times faster than Flask's own provider, which stays in place for other values.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from flask import Flask, Request, Response, current_app, request
from flask.signals import got_request_exception
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge
from werkzeug.wrappers import Response as BaseResponse

from flask_convex_http.errors import (
    AuthenticationError,
    ConvexError,
    ConvexHTTPError,
    MissingSecretError,
    RateLimitedError,
    VerificationError,
)
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.web.observed import note_error
from flask_convex_http.web.requests.request_ids import request_id
from flask_convex_http.web.responses.challenges import BEARER, WEBHOOK_SIGNATURE
from flask_convex_http.web.responses.descriptors import out_of_descriptors
from flask_convex_http.web.responses.file_responses import with_ranges
from flask_convex_http.web.responses.json_responses import JSON, JsonResponse
from flask_convex_http.web.state import raises_unexpected

logger = logger_of()

#: Marks the error handler of `json_errors`.
_IS_JSON = "convex_json_errors"
_ENCODED = (dict, list, msgspec.Struct)
#: Characters of an error's message in a log line.
_LONGEST_TEXT = 2000
#: Statuses of responses that have no body.
WITHOUT_CONTENT = (204, 205, 304)
HeaderValues = Mapping[str, str]
#: Where an app has whether it handles a class of errors itself, by the endpoint.
_HANDLED = "convex_http_handled_errors"


def _encode_other(value: object) -> Any:
    if isinstance(value, str):  # a subclass, such as a new key of `ctx.api_keys`
        return str.__str__(value)
    return current_app.json.default(value)  # type: ignore[attr-defined]  # of Flask's default provider


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def json_response(data: Any, status: int = 200, headers: HeaderValues | None = None) -> Response:
    """Return a JSON response.

    Args:
        data: Documents, structs, dicts, lists and every other value that JSON can hold.
        status: The HTTP status.
        headers: Further headers.
    """
    response = _json(current_app, data, status)
    if headers:
        response.headers.update(headers)
    return response


def _json(app: Flask, data: Any, status: int) -> Response:
    return encoded_response(app, _encoder.encode(data), status)


def encoded_response(app: Flask, body: bytes, status: int, further: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a response of JSON that is encoded already, with further headers."""
    if app.response_class is Response:
        return JsonResponse.of(body, status, further)
    return app.response_class(body, status, headers=list(further), content_type=JSON)


def encode_documents(app: Flask) -> None:
    """Let the app's JSON provider encode documents and other structs, as in `jsonify(document)` and `|tojson`.

    Flask's provider calls `default` for values that it does not know. A provider without one is left as it is.
    """
    known = getattr(app.json, "default", None)
    if known is None:
        return

    def default(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return msgspec.to_builtins(value, enc_hook=known, str_keys=True)
        return known(value)

    app.json.default = default  # type: ignore[attr-defined]  # of Flask's default provider


def error_response(message: str, status: int, headers: HeaderValues | None = None) -> Response:
    """Return a JSON response `{"error": message}`.

    Args:
        message: The error, for the client.
        status: The HTTP status.
        headers: Further headers.
    """
    return json_response({"error": message}, status, headers)


def to_response(app: Flask, value: Any, status: int = 200) -> Response:
    """Return the response for a handler's return value: that of a Flask view, a document or another struct.

    Args:
        app: The app.
        value: The value. None is an empty response if the status has no content.
        status: The status, unless the value has one of its own.
    """
    if isinstance(value, _ENCODED):
        return _json(app, value, status)
    if not isinstance(value, Response):
        value = _made_response(app, value, status)
    return value if type(value.response) is list else with_ranges(value)  # a list is every body but a stream


def _made_response(app: Flask, value: Any, status: int) -> Response:
    """Return the response that Flask makes of a value."""
    if value is None and status in WITHOUT_CONTENT:
        response = app.response_class(status=status)
        response.headers.remove("Content-Type")
        return response
    if dataclasses.is_dataclass(value):
        return _json(app, value, status)
    if not isinstance(value, tuple):
        return _with_status(app.make_response(value), status if not isinstance(value, BaseResponse) else 200)
    if value and (isinstance(value[0], _ENCODED) or dataclasses.is_dataclass(value[0])):
        value = (_json(app, value[0], status), *value[1:])
        return app.make_response(cast(ResponseReturnValue, value))
    has_status = len(value) == 3 or (len(value) == 2 and not isinstance(value[1], dict | list | tuple | Headers))
    return _with_status(app.make_response(cast(ResponseReturnValue, value)), 200 if has_status else status)


def _with_status(response: Response, status: int) -> Response:
    if status != 200:
        response.status_code = status
    return response


def handle_error(error: Exception) -> ResponseReturnValue:
    """Return the response to an exception that left a handler. The application's own error handlers come first."""
    own = _outer_handler(error)
    if own is not None:
        return cast(ResponseReturnValue, current_app.ensure_sync(own)(error))
    if isinstance(error, RequestEntityTooLarge):
        limits = "Flask's MAX_CONTENT_LENGTH, MAX_FORM_MEMORY_SIZE or MAX_FORM_PARTS"
        return error_response(f"The body is larger than this endpoint takes ({limits})", 413)
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, ConvexHTTPError) and error.public:
        return public_error(error)
    unavailable = out_of_descriptors(error)
    if unavailable is not None:
        return public_error(unavailable)
    return _internal_error(error)


def public_error(error: ConvexHTTPError, *, is_logged: bool = True) -> Response:
    """Return the response to an error that a client can act on, and log what the response leaves out.

    Args:
        error: The error.
        is_logged: Whether to log it. Errors that anyone can cause in any number are bounded by the caller.
    """
    note_error(request.environ, error)
    if is_logged:
        _log_public(error)
    message = str(error) if error.client_message is None or _is_shown(error) else error.client_message
    headers = _headers(error)
    if not isinstance(error, ConvexError):
        return error_response(message, error.status, headers)
    has_data = error.data is not None and not isinstance(error.data, str)
    body = {"error": error.message, "data": error.data} if has_data else {"error": error.message}
    return json_response(body, error.status, headers)


def has_own_handler(app: Flask, request: Request, error: ConvexHTTPError) -> bool:
    """Return whether the application has an error handler for an error that a client can act on.

    Without one, a view may return `public_error(error)`. To raise the error costs a fifth of a whole rejected request.
    Flask takes no handler after the first request, so each endpoint is looked at once for each class of errors.
    """
    known: dict[Any, bool] = app.extensions.setdefault(_HANDLED, {})
    key = request.endpoint, type(error)
    has_one = known.get(key)
    if has_one is None:
        has_one = known[key] = _finds_handler(app, request, error)
    return has_one


def _finds_handler(app: Flask, request: Request, error: ConvexHTTPError) -> bool:
    spec = app.error_handler_spec
    names: list[str | None] = [*request.blueprints, None]
    if spec[names[0]][None].get(Exception) is not handle_error:  # replaced on the router itself
        return True
    for name in names:
        handlers = spec[name][None] if name in spec else None
        if handlers and handlers.get(_kind_handled(error, handlers), handle_error) is not handle_error:
            return True
    return False


def json_errors(app: Flask) -> None:
    """Make every HTTP error of an app JSON such as `{"error": "Not Found"}`, also outside the routers.

    Args:
        app: The app. Its own error handlers for a status code still come first.
    """

    def handle(error: HTTPException) -> ResponseReturnValue:
        if error.code is None or error.code < 400:
            return error
        answer = error.get_response()
        if error.response is not None:
            return cast(Response, error.response)
        response = error_response(error.name, error.code)
        response.headers.extend(
            (name, value) for name, value in answer.headers if name.lower() not in ("content-type", "content-length")
        )
        return response

    setattr(handle, _IS_JSON, True)
    app.register_error_handler(HTTPException, handle)


def content_type_of_http_errors(app: Flask) -> str | None:
    """Return the content type of an app's HTTP errors, or None if the app handles them itself."""
    handler = app.error_handler_spec[None][None].get(HTTPException)
    if handler is None:
        return "text/html"
    return JSON if hasattr(handler, _IS_JSON) else None


def _outer_handler(error: Exception) -> Any:
    """Return the error handler of an outer blueprint or the app for an error, or None.

    Flask would not call it, since it prefers the router's own handler, which handles every exception.
    """
    for name in (*request.blueprints[1:], None):
        handlers = current_app.error_handler_spec.get(name, {}).get(None, {})
        found = handlers.get(_kind_handled(error, handlers))
        if found is not None and found is not handle_error:
            return found
    return None


def _kind_handled(error: Exception, handlers: Mapping[type[Exception], Any]) -> Any:
    """Return the nearest class of an error that has a handler.

    The search for errors that a client can act on ends at `ConvexHTTPError`, so that a handler of `Exception` does not
    change their status. Mistakes of the application reach that handler, as any other exception does.
    """
    last = ConvexHTTPError if isinstance(error, ConvexHTTPError) and error.public else Exception
    for kind in type(error).__mro__:
        if kind in handlers or kind is last:
            return kind
    return None


def _handler_of_500() -> Any:
    for name, kind in itertools.product((*request.blueprints, None), InternalServerError.__mro__):
        handlers = current_app.error_handler_spec.get(name, {}).get(500, {})
        if kind in handlers:
            return handlers[kind]
    return None


def _is_shown(error: ConvexHTTPError) -> bool:
    """Return whether a developer sees the name of a variable in the response."""
    return isinstance(error, MissingSecretError) and current_app.debug


def _headers(error: ConvexHTTPError) -> dict[str, str]:
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, AuthenticationError):
        headers |= BEARER.headers(error.error, description=error.description)
    if error.status == 401 and isinstance(error, VerificationError):
        headers["WWW-Authenticate"] = WEBHOOK_SIGNATURE
    return headers


def _log_public(error: ConvexHTTPError) -> None:
    """Log an error whose response leaves out what an operator needs: a 5xx, or names of the application."""
    if error.status >= 500:
        level = logging.ERROR
    elif error.client_message is None:
        return
    else:  # a limit bounds what clients can cause, log lines included
        level = logging.INFO if isinstance(error, RateLimitedError | AuthenticationError) else logging.WARNING
    if logger.isEnabledFor(level):
        detail = getattr(error, "detail", "")  # for the operator only
        text = f"{error}: {detail}" if detail else str(error)
        text = repr(text[:_LONGEST_TEXT])  # quoted, since a client may have chosen a part of it
        identity = request_id(request)
        logger.log(level, "%s %r [request %s]: %s", request.method, request.path, identity, text, extra=EVENT)


def _internal_error(error: Exception) -> ResponseReturnValue:
    """Log an unexpected error and return the response, or raise the error where Flask would."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # of the proxy; signals want the app itself
    if raises_unexpected(app):
        raise error
    got_request_exception.send(app, exception=error)
    identity = request_id(request)
    note_error(request.environ, error)
    logger.error("%s %r failed [request %s]", request.method, request.path, identity, exc_info=error, extra=EVENT)
    own = _handler_of_500()
    if own is not None:
        failure = InternalServerError(original_exception=error)
        return cast(ResponseReturnValue, current_app.ensure_sync(own)(failure))
    return json_response({"error": "Internal server error", "requestId": identity}, 500)
