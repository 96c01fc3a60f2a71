"""Convex's values in JSON: what JSON lacks is an object with one key.

`{"$integer": ...}` is an int64, `{"$float": ...}` a NaN, an infinity or -0, and `{"$bytes": ...}` bytes, all in base64.
A plain number is a float64, also one without a decimal point. No other key begins with `$`.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Any

_INTEGER = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_INTEGERS = range(-(2**63), 2**63)


class ValueFormatError(ValueError):
    """A value is not one that Convex's JSON can hold."""


def decode(value: Any) -> Any:
    """Return the Python value of encoded JSON, where no annotation says more.

    Args:
        value: A parsed JSON value, nested no deeper than the limit of arguments.

    Raises:
        ValueFormatError: An object has a key that begins with `$` and no meaning.
    """
    kind = type(value)
    if kind is dict:
        return decode_special(value) if is_special(value) else {key: decode(part) for key, part in value.items()}
    if kind is list:
        return [decode(part) for part in value]
    return number(value) if kind is int else value


def is_special(value: dict[str, Any]) -> bool:
    """Return whether an object has a key that begins with `$`."""
    return any(key[:1] == "$" for key in value)


def decode_special(value: dict[str, Any]) -> int | float | bytes:
    """Return the value of an object that stands for an int64, a float64 or bytes.

    Raises:
        ValueFormatError: It stands for nothing.
    """
    (key, text), *others = value.items()
    if others or not isinstance(text, str) or key not in _DECODERS:
        key = next(key for key in value if key.startswith("$"))
        raise ValueFormatError(f"Object has the key {key[:40]!r}, which is not the form of a value")
    try:
        decoded: int | float | bytes = _DECODERS[key](base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, struct.error) as error:
        if isinstance(error, ValueFormatError):
            raise
        raise ValueFormatError(f"{key} must be base64 of the right length") from None
    return decoded


def _decode_float(data: bytes) -> float:
    (value,) = _FLOAT.unpack(data)
    if is_plain(value):
        raise ValueFormatError(f"Float64 {value} should be encoded as a number")
    return float(value)


_DECODERS: dict[str, Any] = {
    "$integer": lambda data: _INTEGER.unpack(data)[0],
    "$float": _decode_float,
    "$bytes": lambda data: data,
}


def number(value: int) -> float:
    """Return a JSON number without a decimal point as the float64 that it is.

    Raises:
        ValueFormatError: It is out of range.
    """
    try:
        return float(value)
    except OverflowError:
        raise ValueFormatError("A number is out of range") from None


def is_plain(value: float) -> bool:
    """Return whether JSON can hold a float: it is finite and not -0."""
    return value - value == 0 and (value != 0 or math.copysign(1, value) > 0)


def encode_integer(value: int) -> dict[str, str]:
    """Return an int64 in encoded JSON.

    Raises:
        ValueFormatError: It has more than 64 bits.
    """
    return {"$integer": base64.b64encode(_INTEGER.pack(in_range(value))).decode()}


def in_range(value: int) -> int:
    """Return an integer that has at most 64 bits.

    Raises:
        ValueFormatError: It has more.
    """
    if value not in _INTEGERS:
        raise ValueFormatError("An integer has more than 64 bits")
    return int(value)


def encode_float(value: float) -> float | dict[str, str]:
    """Return a float64 in encoded JSON."""
    return float(value) if is_plain(value) else {"$float": base64.b64encode(_FLOAT.pack(value)).decode()}


def encode_text(value: str) -> str:
    """Return a text in either form.

    Raises:
        ValueFormatError: It has half of a surrogate pair, as Python's names of undecodable files do.
    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueFormatError("A text has half of a surrogate pair, which is no Unicode character") from None
    return value


def encode_bytes(value: bytes | bytearray | memoryview) -> dict[str, str]:
    """Return bytes in encoded JSON."""
    return {"$bytes": base64.b64encode(value).decode()}


def clean_integer(value: int) -> str:
    """Return an int64 in clean JSON, a text, since JavaScript's numbers have 53 bits."""
    return str(in_range(value))


def clean_float(value: float) -> float | str:
    """Return a float64 in clean JSON."""
    if value - value == 0:
        return float(value)
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def clean_bytes(value: bytes | bytearray | memoryview) -> str:
    """Return bytes in clean JSON."""
    return base64.b64encode(value).decode()
