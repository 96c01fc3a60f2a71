"""The responses of an operation: what its handler returns, and the errors that the package responds with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, get_args, get_origin, is_typeddict

import msgspec
from werkzeug.wrappers import Response

from flask_convex_http.validation.annotations import MAPPINGS, UNIONS, NoneType, split_annotated
from flask_convex_http.web.handlers.operations import Operation
from flask_convex_http.web.idempotent import REPLAYED
from flask_convex_http.web.openapi.schemas import JsonSchema, Schemas
from flask_convex_http.web.responses.responses import WITHOUT_CONTENT
from flask_convex_http.web.streams.live import EVENTS, LiveQuery

_JSON, _HTML = "application/json", "text/html"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_TEXT_VARIABLES = ("", "default", "string", "path")

_NAMES = {
    400: ("BadRequest", "The request does not match."),
    401: ("Unauthorized", "The credential is missing or invalid."),
    403: ("Forbidden", "The credential is invalid, or lacks a scope."),
    404: ("NotFound", "Nothing is at this path."),
    409: ("Conflict", "A request with this Idempotency-Key is running."),
    413: ("ContentTooLarge", "The body is too large."),
    415: ("UnsupportedMediaType", "The content type or encoding of the body is not accepted."),
    422: ("UnprocessableContent", "The Idempotency-Key was sent with another request."),
    429: ("TooManyRequests", "The limit of requests is reached."),
    503: ("ServiceUnavailable", "The server cannot handle the request now; retry it later."),
}
_TEXT: JsonSchema = {"type": "string"}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to retry.", "schema": {"type": "integer"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "The credential that is needed.", "schema": _TEXT}}
_LIMITS = {
    "RateLimit-Policy": {"description": "The limit (IETF draft).", "schema": _TEXT},
    "RateLimit": {"description": "The requests that are left (IETF draft).", "schema": _TEXT},
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: _CHALLENGE,
    403: _CHALLENGE,
    409: _RETRY_AFTER,
    429: _RETRY_AFTER | _LIMITS,
    503: _RETRY_AFTER,
}
_REPLAYED = {REPLAYED: {"description": 'Is "true" if the response was stored before.', "schema": _TEXT}}


class Responses:
    """The responses of a document, which its operations share.

    Args:
        schemas: The schemas of the document.
        not_found: The content type of the 404 of a path that does not match, or None if it is the app's own.

    Attributes:
        components: The error responses that operations refer to.
    """

    def __init__(self, schemas: Schemas, not_found: str | None) -> None:
        self.components: dict[str, Any] = {}
        self._schemas = schemas
        self._not_found = not_found
        self.error = schemas.returned(Error)

    def of(self, operation: Operation, method: str) -> dict[str, Any]:
        """Return the responses of an operation.

        Args:
            operation: The operation.
            method: One of its methods.
        """
        success, is_open = self._success(operation)
        headers = (_LIMITS if operation.is_limited else {}) | (_REPLAYED if operation.idempotent else {})
        if headers:
            success["headers"] = headers
        found = {str(operation.status): success}
        for status in sorted(_error_statuses(operation, method)):
            found.setdefault(str(status), self.ref(status))
        found["default"] = {"description": "Another response of the handler."} if is_open else self.ref(None)
        return found

    def ref(self, status: int | None) -> dict[str, str]:
        """Return the reference to an error response. None is any other error."""
        name, description = _NAMES[status] if status is not None else ("Error", "Another error.")
        response: dict[str, Any] = {"description": description}
        if status in _HEADERS:
            response["headers"] = _HEADERS[status]
        content_type = self._not_found if status == 404 else _JSON
        if content_type is not None:
            response["content"] = {content_type: {"schema": self.error if content_type == _JSON else _TEXT}}
        self.components.setdefault(name, response)
        return {"$ref": f"#/components/responses/{name}"}

    def _success(self, operation: Operation) -> tuple[dict[str, Any], bool]:
        """Return the response of a handler that succeeds, and whether it may make any other."""
        values, is_text, is_open = _split(operation.returns)
        content: dict[str, Any] = {}
        if any(_is_stream(member) for member in _members(operation.returns)):
            content[EVENTS] = {"schema": _TEXT}
        if values:
            schemas = [self._schemas.returned(value) for value in values]
            content[_JSON] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        if is_text:
            content[_HTML] = {"schema": _TEXT}
        success: dict[str, Any] = {"description": _PHRASES.get(operation.status, "Success")}
        if content and operation.status not in WITHOUT_CONTENT:
            success["content"] = content
        return success, is_open


class Error(msgspec.Struct, omit_defaults=True):
    """The body of an error response."""

    error: str
    data: Any = None
    requestId: str = ""  # the name in JSON


def reads_request(operation: Operation, method: str) -> bool:
    """Return whether a handler may read a body that it does not declare."""
    places = {parameter.place for parameter in operation.parameters}
    if method not in _WITH_BODY or places & {"body", "form"}:
        return False
    signature = operation.signature
    return signature.takes_request or signature.takes_any or signature.is_wrapped


def _error_statuses(operation: Operation, method: str) -> Iterator[int]:
    """Yield the statuses of the errors that the package may respond with."""
    places = {parameter.place for parameter in operation.parameters}
    has_body = bool(places & {"body", "form"}) or bool(operation.described_body) or reads_request(operation, method)
    if has_body:
        yield from (400, 413, 415)
    if "query" in places or operation.idempotent:
        yield 400
    if operation.idempotent:
        yield from (409, 413, 422)
    if operation.guards:
        yield from (401, 403)
    if operation.converters or any(name not in _TEXT_VARIABLES for name in operation.variables.values()):
        yield 404
    if operation.is_limited:
        yield 429
    if operation.signature.takes_ctx or operation.guards or operation.is_limited or operation.idempotent:
        yield 503


def _split(annotation: Any) -> tuple[list[Any], bool, bool]:
    """Return what a handler's annotation says.

    Returns:
        The types that become JSON, whether it may return a text, and whether it may return anything else.
    """
    values: list[Any] = []
    is_text = is_open = False
    for member in _members(annotation):
        base, _ = split_annotated(member)
        if base is NoneType:
            continue
        if base in (str, bytes):
            is_text = True
        elif _is_json(base):
            values.append(member)
        elif not _is_stream(member):
            is_open = True
    return values, is_text, is_open


def _members(annotation: Any) -> Iterator[Any]:
    base, _ = split_annotated(annotation)
    if get_origin(base) not in UNIONS:
        yield annotation
        return
    for member in get_args(base):
        yield from _members(member)


def _is_stream(annotation: Any) -> bool:
    """Return whether a handler's result is a stream of server-sent events."""
    base, metadata = split_annotated(annotation)
    return EVENTS in metadata or (get_origin(base) or base) is LiveQuery


def _is_json(base: Any) -> bool:
    kind = get_origin(base) or base
    if kind in MAPPINGS or kind is list or is_typeddict(kind):
        return True
    if not isinstance(kind, type) or issubclass(kind, Response):
        return False
    return issubclass(kind, msgspec.Struct | dict | list) or dataclasses.is_dataclass(kind)
