"""Strict parsing of what senders write. Each function returns a value or raises `VerificationError`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.nesting import MAX_NESTING, exceeds, may_exceed

TimeFormat = Literal["seconds", "milliseconds", "rfc3339"]

TIME_FORMATS: tuple[TimeFormat, ...] = ("seconds", "milliseconds", "rfc3339")
_MILLISECONDS = re.compile(r"[0-9]{1,15}")
#: Python reads at most six digits of a second on 3.11 and later, and cuts off the rest.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_LONGEST_TIMESTAMP = 12
#: An escape in JSON: a pair of surrogates, a surrogate alone, or any other.
_ESCAPE = re.compile(rb"\\(?:u(?i:d[89ab][0-9a-f]{2})\\u(?i:d[c-f][0-9a-f]{2})|u((?i:d[89a-f][0-9a-f]{2}))|.)")
_REPLACEMENT = rb"\ufffd"
_MOST_FIELDS = 1000
_OBJECTS = (dict, Mapping)  # the usual one first: an abstract class takes longer
_TOO_DEEP = f"Webhook body has more than {MAX_NESTING} levels of lists and objects"


def parse_timestamp(text: str) -> int:
    """Parse a timestamp of 1 to 12 ASCII digits, in seconds since the epoch.

    Args:
        text: The timestamp as received. Signs, spaces, fractions and digits of other scripts are rejected, although
            `int()` and `float()` accept them.

    Raises:
        VerificationError: The text is not such a timestamp.
    """
    if not (text.isdecimal() and text.isascii() and len(text) <= _LONGEST_TIMESTAMP):
        raise VerificationError("malformed", "Webhook timestamp is not 1 to 12 digits, the seconds since 1970")
    return int(text)


def parse_time(text: str, time_format: TimeFormat) -> float:
    """Parse a timestamp in one of the forms that senders use.

    Args:
        text: The timestamp as received.
        time_format: "seconds" or "milliseconds" since the epoch, or "rfc3339", a date and a time with its offset.

    Returns:
        The seconds since the epoch.

    Raises:
        VerificationError: The text is not such a timestamp.
    """
    if time_format == "seconds":
        return parse_timestamp(text)
    if time_format == "milliseconds":
        if not _MILLISECONDS.fullmatch(text):
            raise VerificationError("malformed", "Webhook timestamp is not 1 to 15 digits, the milliseconds since 1970")
        return int(text) / 1000
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError("it has another form")
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise VerificationError("malformed", "Webhook timestamp is not a date and a time in RFC 3339") from error


def format_time(now: float, time_format: TimeFormat) -> str:
    """Return a time in milliseconds since the epoch as `parse_time` reads it."""
    if time_format == "rfc3339":
        moment = datetime.fromtimestamp(now / 1000, tz=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(int(now // 1000) if time_format == "seconds" else int(now))


def require_utf8(body: bytes) -> None:
    """Check that a body is UTF-8, for senders that sign the text of a body.

    Raises:
        VerificationError: The body is not UTF-8.
    """
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise VerificationError("malformed", "Webhook body is not UTF-8") from error


def parse_json(body: bytes) -> Any:
    r"""Parse a JSON body. A lone surrogate such as `\ud83d`, which no database stores, becomes U+FFFD.

    Senders cut texts in the middle of a pair, and their own libraries accept the result.

    Args:
        body: The verified bytes.

    Raises:
        VerificationError: The body is not JSON, or is nested too deeply.
    """
    try:
        payload = _decode(body)
    except RecursionError as error:
        raise VerificationError("malformed", _TOO_DEEP) from error
    except ValueError as error:  # msgspec's own errors are ValueErrors
        raise VerificationError("malformed", "Webhook body is not valid JSON") from error
    if may_exceed(body, MAX_NESTING) and exceeds(payload, MAX_NESTING):
        raise VerificationError("malformed", _TOO_DEEP) from RecursionError(_TOO_DEEP)
    return payload


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        fixed = _ESCAPE.sub(_without_lone_surrogate, body)
        if fixed == body:
            raise
        return msgspec.json.decode(fixed)


def _without_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else _REPLACEMENT


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be one JSON object; see `parse_json`.

    Args:
        body: The verified bytes.

    Raises:
        VerificationError: The body is not JSON, is nested too deeply, or is not an object.
    """
    payload = parse_json(body)
    if not isinstance(payload, dict):
        raise VerificationError("malformed", "Webhook body is not a JSON object")
    return payload


def parse_json_or_form(body: bytes) -> dict[str, Any] | list[Any]:
    """Parse a body that is a JSON object, a JSON array or a form.

    The bytes decide, because the content type is not signed.

    Args:
        body: The verified bytes.

    Returns:
        The JSON value, or the fields of the form: a text for each name, or a list of texts for a repeated name.

    Raises:
        VerificationError: The body is none of these.
    """
    if body.lstrip()[:1] in (b"{", b"["):
        document: dict[str, Any] | list[Any] = parse_json(body)
        return document
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise VerificationError("malformed", "Webhook body is not a JSON object, a JSON array or a form") from error
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields[name] = [*_listed(fields[name]), value] if name in fields else value
    return fields


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def field_at(payload: Any, path: str) -> Any:
    """Return a field of the payload by its name or a path such as `data.id`, or None if it is missing."""
    if isinstance(payload, _OBJECTS) and path in payload:
        return payload[path]
    value = payload
    for name in path.split("."):
        value = value.get(name) if isinstance(value, _OBJECTS) else None
    return value


def text_field(payload: Mapping[str, Any], name: str) -> str:
    """Return a field of the payload that must be a text and not empty.

    Raises:
        VerificationError: The field is missing, empty or not a text.
    """
    value = field_at(payload, name)
    if not isinstance(value, str) or not value:
        raise VerificationError("malformed", f"Webhook body has no text field {name!r}")
    return value
