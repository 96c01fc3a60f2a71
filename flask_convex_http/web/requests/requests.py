"""Read requests: JSON into types."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec
from flask import Request

from flask_convex_http.errors import PayloadTooLargeError, RegistrationError, RequestError
from flask_convex_http.nesting import MAX_NESTING, TOO_DEEP, exceeds, may_exceed
from flask_convex_http.validation.validator import InvalidValueError, Validator
from flask_convex_http.web.requests.body_streams import read_data

T = TypeVar("T")

_COMPRESSION = re.compile(r"\b(?:x-)?(?:gzip|compress|deflate|br|zstd)\b", re.IGNORECASE)
_MIMETYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_encoder = msgspec.json.Encoder(enc_hook=lambda value: None)
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


@overload
def read_json(request: Request, *, content_types: Sequence[str] = ()) -> Any: ...
@overload
def read_json(request: Request, type: type[T], *, content_types: Sequence[str] = ()) -> T: ...
def read_json(request: Request, type: Any = Any, *, content_types: Sequence[str] = ()) -> Any:
    """Parse a JSON body and validate it.

    Args:
        request: Flask's request.
        type: The type of the body: a msgspec.Struct, a TypedDict, `list[int]` and so on. The default accepts any JSON.
        content_types: Content types that are accepted beside JSON's, such as `["text/plain"]`, which
            `navigator.sendBeacon` sends. A page of any origin may send that type without a preflight.

    Returns:
        The body as a value of the type.

    Raises:
        RequestError: The content type is not JSON or the body is compressed (415), or the body is not JSON or does not
            match the type (400, with the path of the field).
        PayloadTooLargeError: The body is larger than the route accepts (413).
    """
    return decode_json(request, validator(type), checked_content_types(content_types) if content_types else ())


def decode_json(request: Request, checks: Validator, content_types: Collection[str]) -> Any:
    """Parse a JSON body and validate it; see `read_json`."""
    environ = request.environ
    if environ.get("CONTENT_TYPE") != "application/json":  # a tenth of the time of request.mimetype
        mimetype = request.mimetype
        if not is_json(mimetype) and mimetype not in content_types:
            raise RequestError("Content-Type must be application/json", 415)
    refuse_compressed(environ)
    body = read_data(request)
    if isinstance(request.json_module, LimitedJson):
        request.json_module.check(body)
    try:
        value = checks.decode(body)
        if checks.nesting_check is not None and may_exceed(body, MAX_NESTING):
            checks.nesting_check(value, False)
        return value
    except InvalidValueError as error:
        raise RequestError(error.client_message, 400) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError("Invalid JSON body", 400) from None


def checked_content_types(content_types: Sequence[str]) -> tuple[str, ...]:
    """Return content types in lower case.

    Raises:
        RegistrationError: They are no list of content types.
    """
    if isinstance(content_types, str):
        raise RegistrationError(f"content_types={content_types!r} must be a list; write [{content_types!r}]")
    chosen = tuple(str(name).lower() for name in content_types)
    for name in chosen:
        if not _MIMETYPE.fullmatch(name):
            raise RegistrationError(f'content_types: {name!r} is no content type; write one such as "text/plain"')
    return chosen


def is_json(mimetype: str) -> bool:
    """Return whether a media type is JSON."""
    return mimetype == "application/json" or (mimetype.startswith("application/") and mimetype.endswith("+json"))


def is_compressed(environ: Mapping[str, Any]) -> bool:
    """Return whether a body has a `Content-Encoding` of compression."""
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return encoding is not None and _COMPRESSION.search(encoding) is not None


def refuse_compressed(environ: Mapping[str, Any]) -> None:
    """Refuse a compressed body that is to be parsed, since nothing here decompresses it.

    A small one could become too large for memory. A handler may decompress `request.get_data()` itself.

    Raises:
        RequestError: The request has a `Content-Encoding` of compression (415, RFC 9110, 15.5.16).
    """
    if is_compressed(environ):
        raise compressed_error()


def compressed_error() -> RequestError:
    """Return the error for a compressed body, which says what is accepted (RFC 9110, 15.5.16)."""
    error = RequestError("The body is compressed (Content-Encoding); send it as it is", 415)
    error.headers = {"Accept-Encoding": "identity"}
    return error


@functools.lru_cache(maxsize=1024)
def _cached_validator(type: Any) -> Validator:
    return Validator(type, f"read_json({type!r})")


def validator(type: Any) -> Validator:
    """Return the validator of a type, which is cached."""
    try:
        return _cached_validator(type)
    except TypeError:  # an annotation that is not hashable
        return Validator(type, f"read_json({type!r})")


def has_body(environ: Mapping[str, Any]) -> bool:
    """Return whether a body may follow the request's headers."""
    if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ:
        return True
    return environ["REQUEST_METHOD"] not in _WITHOUT_BODY


class LimitedJson:
    """Parses JSON for `request.get_json()`, up to a limit.

    Args:
        limit: The largest number of bytes.
        module: The application's parser, by default Flask's.
        environ: The WSGI environment of the request.
    """

    __slots__ = ("_environ", "_limit", "_module")

    def __init__(self, limit: int, module: Any, environ: Mapping[str, Any]) -> None:
        self._limit = limit
        self._module = module
        self._environ = environ

    def check(self, body: bytes) -> None:
        """Check the size of a body that will be parsed.

        Raises:
            PayloadTooLargeError: The body is larger than the limit.
        """
        if len(body) > self._limit:
            raise PayloadTooLargeError(
                f"The JSON body is larger than {self._limit} bytes "
                "(max_json_bytes= of the route or CONVEX_MAX_JSON_BYTES)"
            )

    def loads(self, body: bytes, **options: Any) -> Any:
        """Parse a body as Flask does.

        Raises:
            PayloadTooLargeError: The body is larger than the limit.
            RequestError: The body is compressed.
            ValueError: It is not JSON, is nested too deeply or has a lone surrogate. The response is 400.
        """
        refuse_compressed(self._environ)
        self.check(body)
        try:
            value = self._module.loads(body, **options)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        if may_exceed(body, MAX_NESTING) and exceeds(value, MAX_NESTING):
            raise ValueError(TOO_DEEP)  # Flask responds with 400
        # Python's parser accepts lone surrogates, which neither a response nor the database can hold.
        _encoder.encode(value)
        return value
