"""Strict parsing of what senders write. Each function returns a value or raises `VerificationError`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from flask_convex_http.errors import VerificationError

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def parse_timestamp(text: str) -> int:
    """Parse a timestamp of 1 to 12 ASCII digits, in seconds since the epoch.

    Args:
        text: The timestamp as received. Signs, spaces, fractions and digits of other scripts are rejected, although
            `int()` and `float()` accept them.

    Raises:
        VerificationError: The text is not such a timestamp.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise VerificationError("malformed", "Webhook timestamp is not a whole number of seconds")
    return int(text)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be one JSON object.

    Args:
        body: The verified bytes.

    Raises:
        VerificationError: The body is not JSON, is nested too deeply, or is not an object.
    """
    try:
        payload = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise VerificationError("malformed", "Webhook body is not valid JSON") from error
    if not isinstance(payload, dict):
        raise VerificationError("malformed", "Webhook body is not a JSON object")
    return payload


def field_at(payload: Any, path: str) -> Any:
    """Return a field of the payload by its name or a path such as `data.id`, or None if it is missing."""
    if isinstance(payload, Mapping) and path in payload:
        return payload[path]
    value = payload
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
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
