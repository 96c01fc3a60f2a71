"""Convert values with msgspec, and turn its errors into `InvalidValueError`."""

from __future__ import annotations

import datetime
import decimal
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from flask_convex_http.errors import RegistrationError
from flask_convex_http.validation.records import InvalidValueError, NotStorableError, shorten

#: Types that Python code passes as they are, and that JSON holds as text.
PYTHON_TYPES = (
    bytes,
    bytearray,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    decimal.Decimal,
)
_INSPECTED_PYTHON_TYPES = (
    msgspec.inspect.BytesType,
    msgspec.inspect.ByteArrayType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType,
    msgspec.inspect.TimeType,
    msgspec.inspect.TimeDeltaType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
)
_UNCHECKED_TYPES = (msgspec.inspect.CustomType, msgspec.inspect.RawType, msgspec.inspect.ExtType)
_PATH = re.compile(r"(?P<text>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`", re.DOTALL)
_FIELD = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)


class Conversion:
    """Converts values to a struct, with msgspec's options computed once.

    The target is always a struct. msgspec caches its analysis of a struct, but analyses a bare `list[Item] | None` at
    each call, which takes ten times as long as the conversion.

    Args:
        struct: The target.
        where: The annotated place, for messages.

    Raises:
        RegistrationError: The struct contains a type that msgspec cannot validate.
    """

    def __init__(self, struct: type[msgspec.Struct], where: str) -> None:
        kinds = _kinds_in(struct, where)
        self.struct = struct
        self._has_python_types = not kinds.isdisjoint(_INSPECTED_PYTHON_TYPES)

    def python(self, value: Any) -> Any:
        """Convert a value that Python code passed."""
        if self._has_python_types:
            return msgspec.convert(value, self.struct, builtin_types=PYTHON_TYPES)
        return msgspec.convert(value, self.struct)

    def fields(self, values: dict[str, Any]) -> Any:
        """Convert the fields of an instance.

        Raises:
            InvalidValueError: A field does not match.
        """
        try:
            return self.python(values)
        except CHECK_ERRORS as error:
            raise invalid_value(error) from None

    def json(self, value: Any) -> Any:
        """Convert a value that was parsed from JSON."""
        return msgspec.convert(value, self.struct, str_keys=True)

    def texts(self, value: Any) -> Any:
        """Convert a value whose parts are texts. Numbers, booleans and null are coerced."""
        return msgspec.convert(value, self.struct, strict=False, str_keys=True)


def may_come_from_json(value: Any) -> bool:
    """Return whether Python's JSON parser may have made a value: it accepts NaN, lone surrogates and large integers."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    except (ValueError, RecursionError):
        return True
    return True


# --- messages ----------------------------------------------------------------------------------------------------

#: Errors of a check. TypeError means an unhashable member of a set, UnicodeError a lone surrogate.
CHECK_ERRORS = (InvalidValueError, msgspec.ValidationError, RecursionError, UnicodeError, TypeError)


def invalid_value(error: Exception, *, boxed: bool = False) -> InvalidValueError:
    """Return the `InvalidValueError` for an error of a check.

    Args:
        error: One of `CHECK_ERRORS`.
        boxed: Whether the value was the only element of an array, whose index the path must not show.
    """
    if isinstance(error, InvalidValueError):
        return error
    if isinstance(error, RecursionError):
        return NotStorableError("The value is nested too deeply - at `$`")
    if isinstance(error, UnicodeError):
        return NotStorableError("Expected text without lone surrogates - at `$`")
    if isinstance(error, TypeError):
        return InvalidValueError(f"The value cannot be in a set or a key ({error}) - at `$`")
    message = str(error)
    if boxed:
        message = "`$".join(message.rsplit("`$[0]", 1))
    return InvalidValueError(readable(message))


def readable(message: str) -> str:
    """Return msgspec's message with a path, also for a missing or an unknown field."""
    match = _PATH.fullmatch(message)
    text, path = (match["text"], match["path"]) if match else (message, "")
    if match and match["key"]:
        return f"{text} as a key - at `${path}`"
    field = _FIELD.fullmatch(text)
    if field is None:
        return f"{text} - at `${path}`"
    what = "Missing required field" if field["what"] == "missing required" else "Unknown field"
    name = shorten(field["name"])
    return f"{what} `{name}` - at `${path}.{name}`"


def _kinds_in(annotation: Any, where: str) -> set[type]:
    """Return the msgspec classes of all types in an annotation.

    Raises:
        RegistrationError: msgspec would accept values of a type unchecked, or check them with isinstance() only.
    """
    kinds = set()
    for node in _nodes(msgspec.inspect.type_info(annotation), set()):
        kinds.add(type(node))
        if isinstance(node, _UNCHECKED_TYPES):
            name = getattr(getattr(node, "cls", None), "__name__", type(node).__name__.removesuffix("Type"))
            raise RegistrationError(
                f"{where}values of type {name} cannot be validated; use str, int, float, bool, bytes, None, datetime, "
                "Literal, an Enum, Id[...], list, dict, a TypedDict, a msgspec.Struct or Any"
            )
    return kinds


def _nodes(node: Any, seen: set[int]) -> Iterator[msgspec.inspect.Type]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, msgspec.inspect.Type):
        yield node
    if isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
        for name in node.__struct_fields__:
            yield from _nodes(getattr(node, name), seen)
    elif isinstance(node, tuple):
        for inner in node:
            yield from _nodes(inner, seen)
