"""Decimals as text whose order by code point is the order of the numbers, so that every engine can index them.

The text is a key and, after a space, the number for people: `15001125 12.5`. The key begins with `-`, `0` or `1` for a
negative number, zero or a positive number. The exponent of the first digit, raised by 5,000, and the digits follow. A
negative number has the complements of both, and ends in `~`, so that the larger magnitude comes first.

Equal numbers have one text. Zeros at the end are therefore lost: 9.90 reads as 9.9.
"""

from __future__ import annotations

import decimal

#: The largest power of ten of the first digit.
MAX_EXPONENT = 4999
_RAISED_BY = 5000
_COMPLEMENTS = str.maketrans("0123456789", "9876543210")


def to_text(value: decimal.Decimal) -> str | None:
    """Return the text of a decimal, or None if it is not finite or its exponent is out of range."""
    if not value.is_finite():
        return None
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # it is a letter only in numbers that are not finite
    text = "".join(map(str, digits))
    kept = text.rstrip("0")
    if not kept:
        return "0 0"
    first = value.adjusted()
    if abs(first) > MAX_EXPONENT:
        return None
    shown = decimal.Decimal((sign, tuple(map(int, kept)), exponent + len(text) - len(kept)))
    key = f"{first + _RAISED_BY:04}{kept}"
    return f"-{key.translate(_COMPLEMENTS)}~ {shown}" if sign else f"1{key} {shown}"


def from_text(text: str) -> decimal.Decimal:
    """Return the decimal of a text.

    Raises:
        ValueError: It is not such a text.
    """
    try:
        return decimal.Decimal(text.rpartition(" ")[2])
    except decimal.InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal") from None
