"""Encode arguments in a generated Python client, in Convex's encoding of JSON."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import math
import struct
import uuid
from collections.abc import Mapping
from typing import Any

from flask_convex_http.codegen.python_base.values import UNSET

#: Numbers up to this one are exact as floats.
_EXACT = 2**53


def encode(value: Any) -> Any:
    """Return a value as JSON has it, in Convex's encoding."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else {"$integer": _base64(struct.pack("<q", value))}
    if isinstance(value, float):
        is_plain = math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)
        return value if is_plain else {"$float": _base64(struct.pack("<d", value))}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": _base64(value)}
    return _encode_compound(value)


def _encode_compound(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = getattr(value, "__wire__", {})
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return encode({names.get(name, name): part for name, part in found.items()})
    if isinstance(value, Mapping):
        return {encode_key(key): encode(part) for key, part in value.items() if part is not UNSET}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(part) for part in value]
    return encode_key(value)


def encode_key(value: Any) -> str:
    """Return a value as a text.

    Raises:
        TypeError: The value is of another type.
    """
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        length = abs(value)
        sign = "-" if value.days < 0 else ""
        return f"{sign}P{length.days}DT{length.seconds}.{length.microseconds:06}S"
    if isinstance(value, (str, int, float, decimal.Decimal, uuid.UUID)):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no type of a value that a function takes")


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()
