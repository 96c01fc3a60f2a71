"""Writing responses: values to JSON, and errors to statuses in one place.

msgspec encodes what a handler returns, several times faster than Flask's own provider; the host app's provider
stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from flask import Flask, Response, current_app, request
from flask.signals import got_request_exception
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge

from flask_convex_http.errors import ConvexError, ConvexHTTPError, MigrationRequiredError
from flask_convex_http.web.request_ids import request_id

logger = logging.getLogger("flask_convex_http")

_JSON = "application/json"
_ENCODED = (dict, list, msgspec.Struct)
Headers = Mapping[str, str]


def _encode_other(value: object) -> Any:
    return current_app.json.default(value)  # type: ignore[attr-defined]  # of Flask's default provider


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def json_response(data: Any, status: int = 200, headers: Headers | None = None) -> Response:
    """A JSON response.

    Args:
        data: Documents, structs, dicts, lists and everything else JSON can say.
        status: The HTTP status.
        headers: More headers.
    """
    response = _json(current_app, data, status)
    if headers:
        response.headers.update(headers)
    return response


def _json(app: Flask, data: Any, status: int) -> Response:
    return app.response_class(_encoder.encode(data), status, content_type=_JSON)


def error_response(message: str, status: int, headers: Headers | None = None) -> Response:
    """A JSON response `{"error": message}`.

    Args:
        message: What is wrong, for whoever sent the request.
        status: The HTTP status.
        headers: More headers.
    """
    return json_response({"error": message}, status, headers)


def to_response(app: Flask, value: Any) -> Response:
    """What a handler returned as a response: what a Flask view may return, or documents and other structs."""
    if isinstance(value, _ENCODED):
        return _json(app, value, 200)
    if isinstance(value, Response):
        return value
    if isinstance(value, tuple) and value and isinstance(value[0], _ENCODED):
        value = (_json(app, value[0], 200), *value[1:])
    return app.make_response(cast(ResponseReturnValue, value))


def handle_error(error: Exception) -> ResponseReturnValue:
    """Answer an exception that left a handler: the app's own error handlers first, then ours."""
    own = _outer_handler(error)
    if own is not None:
        return cast(ResponseReturnValue, current_app.ensure_sync(own)(error))
    if isinstance(error, RequestEntityTooLarge):
        return error_response("The body is larger than this endpoint takes", 413)
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, ConvexHTTPError) and error.public:
        return _public_error(error)
    return _internal_error(error)


def json_errors(app: Flask) -> None:
    """Make every HTTP error of an app JSON, the ones outside of our routes included: `{"error": "Not Found"}`.

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

    app.register_error_handler(HTTPException, handle)


def _outer_handler(error: Exception) -> Any:
    """A handler of an outer blueprint or the app for the very kind of error; ours, on the blueprint, would hide it."""
    for name in (*request.blueprints[1:], None):
        handlers = current_app.error_handler_spec.get(name, {}).get(None, {})
        found = handlers.get(_kind_handled(error, handlers))
        if found is not None and found is not handle_error:
            return found
    return None


def _kind_handled(error: Exception, handlers: Mapping[type[Exception], Any]) -> Any:
    """The nearest class of an error that has a handler; for errors of ours, `Exception` is too far."""
    for kind in type(error).__mro__:
        if kind in handlers or kind in (ConvexHTTPError, Exception):
            return kind
    return None


def _handler_of_500() -> Any:
    for name in (*request.blueprints, None):
        handlers = current_app.error_handler_spec.get(name, {}).get(500, {})
        for kind in InternalServerError.__mro__:
            if kind in handlers:
                return handlers[kind]
    return None


def _public_error(error: ConvexHTTPError) -> Response:
    if error.status >= 500:
        logger.error("%s %r [request %s]: %s", request.method, request.path, request_id(request), error)
    if isinstance(error, MigrationRequiredError):  # which tables and columns there are is for the log
        return error_response("The database is not migrated; run `flask convex migrate`", error.status)
    if isinstance(error, ConvexError):
        return json_response({"error": error.message, "data": error.data}, error.status)
    if error.retry_after is not None:
        return error_response(str(error), error.status, {"Retry-After": str(error.retry_after)})
    return error_response(str(error), error.status)


def _internal_error(error: Exception) -> ResponseReturnValue:
    if current_app.config["PROPAGATE_EXCEPTIONS"]:
        raise error
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # of the proxy; signals want the app itself
    got_request_exception.send(app, exception=error)
    identity = request_id(request)
    logger.error("%s %r failed [request %s]", request.method, request.path, identity, exc_info=error)
    own = _handler_of_500()
    if own is not None:
        failure = InternalServerError(original_exception=error)
        return cast(ResponseReturnValue, current_app.ensure_sync(own)(failure))
    return json_response({"error": "Internal server error", "requestId": identity}, 500)
