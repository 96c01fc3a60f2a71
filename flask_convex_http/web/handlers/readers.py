"""Read the `body`, `query` and `form` of a request, and the variables of its path, into the types of a handler.

A body is read as `read_json` reads it. A mismatch is 400 with the path of the field, and a variable of the
path that does not match is 404.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from flask import Request
from werkzeug.exceptions import NotFound

from flask_convex_http.errors import RegistrationError, RequestError
from flask_convex_http.validation.annotations import split_annotated
from flask_convex_http.validation.texts import TextConverter, TextRecordConverter
from flask_convex_http.validation.validator import InvalidValueError, Validator
from flask_convex_http.web.handlers.signatures import BODY, QUERY
from flask_convex_http.web.requests.forms import FORM_TYPES
from flask_convex_http.web.requests.requests import decode_json

#: The key of the WSGI environment with the further content types of a route's `body`.
CONTENT_TYPES = "convex_http.content_types"

Read = Callable[[Request], Any]


class Binds(Protocol):
    """Has annotations with ids."""

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the tables of all ids, and return the class names that are not in the schema."""


def reader_of(name: str, annotation: Any, where: str) -> tuple[Read, Binds]:
    """Return the function that reads a parameter from a request, and its annotation's validator.

    Args:
        name: "body", "query" or "form".
        annotation: The annotation of the parameter.
        where: The parameter, for messages.

    Raises:
        RegistrationError: The annotation cannot work.
        NameError: The annotation names a class that is not defined yet.
    """
    if name == BODY:
        return _body_reader(annotation, where)
    if annotation is Any:
        instead = "request.args" if name == QUERY else "request.form"
        raise RegistrationError(
            f"{where} needs a type with its fields: write a msgspec.Struct and {name}: ThatStruct, or take the request "
            f"and read {instead}"
        )
    converter = TextRecordConverter(annotation, where)
    return (_query_reader if name == QUERY else _form_reader)(converter), converter


def _body_reader(annotation: Any, where: str) -> tuple[Read, Validator]:
    if split_annotated(annotation)[0] in (bytes, bytearray, memoryview):
        raise RegistrationError(
            f"{where}: a JSON body is not bytes; take the request and call request.get_data(), or write a "
            "msgspec.Struct with a field of bytes, which JSON holds as base64"
        )
    validator = Validator(annotation, where)

    def read(request: Request) -> Any:
        return decode_json(request, validator, request.environ.get(CONTENT_TYPES, ()))

    return read, validator


def _query_reader(converter: TextRecordConverter) -> Read:
    def read(request: Request) -> Any:
        try:
            return converter.convert(request.args.lists())
        except InvalidValueError as error:
            raise RequestError(f"Query string: {error.client_message}", 400) from None

    return read


def _form_reader(converter: TextRecordConverter) -> Read:
    def read(request: Request) -> Any:
        if request.mimetype not in FORM_TYPES:
            raise RequestError(f"Content-Type must be {' or '.join(FORM_TYPES)}", 415)
        try:
            return converter.convert(request.form.lists())
        except InvalidValueError as error:
            raise RequestError(f"Form: {error.client_message}", 400) from None

    return read


def with_default(name: str, read: Read, default: Any) -> Read:
    """Return a reader that returns a default if the request has no body, or no query string.

    Args:
        name: "body", "query" or "form".
        read: The reader.
        default: The default.
    """
    is_absent = _has_no_query if name == QUERY else _has_no_body

    def read_or_default(request: Request) -> Any:
        return default if is_absent(request.environ) else read(request)

    return read_or_default


def _has_no_query(environ: Mapping[str, Any]) -> bool:
    return not environ.get("QUERY_STRING")


def _has_no_body(environ: Mapping[str, Any]) -> bool:
    return environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ


def variable_reader(annotation: Any, where: str) -> TextConverter | None:
    """Return the converter of a path variable, or None if every text is valid as it is.

    Raises:
        RegistrationError: A text cannot be converted to the annotation.
        NameError: The annotation names a class that is not defined yet.
    """
    return None if annotation in (Any, str, object) else TextConverter(annotation, where)


def read_variables(converters: Collection[tuple[str, TextConverter]], values: dict[str, Any]) -> None:
    """Convert the variables of a path in place.

    Raises:
        NotFound: One does not match.
    """
    try:
        for name, converter in converters:
            if name in values:
                values[name] = converter.convert(values[name])
    except InvalidValueError:
        raise NotFound from None
