"""msgspec, as `validation` uses it: what it is called with, the unions it has no words for, and its messages.

What lives here turns one value into another by a type that msgspec understands; which type that is for an
annotation is `validation`'s work.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from flask_convex_http.errors import RegistrationError
from flask_convex_http.validation.records import InvalidValueError, shown

#: Values Python code passes as they are; from JSON they come as text and are read from it.
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
    """msgspec's conversion to a struct, with what it must be told worked out once.

    To a struct always, if need be one of one field: what msgspec has found out about a struct it remembers, while a
    bare `list[Item] | None` it reads again at each call, which takes ten times as long as the check itself.
    """

    def __init__(self, struct: type[msgspec.Struct], where: str) -> None:
        kinds = _kinds_in(struct, where)
        self.struct = struct
        self._has_python_types = not kinds.isdisjoint(_INSPECTED_PYTHON_TYPES)

    def python(self, value: Any) -> Any:
        """Convert a value of Python code."""
        if self._has_python_types:
            return msgspec.convert(value, self.struct, builtin_types=PYTHON_TYPES)
        return msgspec.convert(value, self.struct)

    def fields(self, values: dict[str, Any]) -> Any:
        """Convert the fields of an instance.

        Raises:
            InvalidValueError: One does not match.
        """
        try:
            return self.python(values)
        except REFUSALS as error:
            raise refusal(error) from None

    def json(self, value: Any) -> Any:
        """Convert what came out of a JSON parser."""
        return msgspec.convert(value, self.struct, str_keys=True)


# --- messages ----------------------------------------------------------------------------------------------------

#: What a check can end with: TypeError for what cannot be in a set, UnicodeError for lone surrogates.
REFUSALS = (InvalidValueError, msgspec.ValidationError, RecursionError, UnicodeError, TypeError)


def refusal(error: Exception, *, boxed: bool = False) -> InvalidValueError:
    """Our error for what a check ended with."""
    if isinstance(error, InvalidValueError):
        return error
    if isinstance(error, RecursionError):
        return InvalidValueError("The value is nested too deeply - at `$`")
    if isinstance(error, UnicodeError):
        return InvalidValueError("Expected text without lone surrogates - at `$`")
    if isinstance(error, TypeError):
        return InvalidValueError(f"The value cannot be in a set or a key ({error}) - at `$`")
    message = str(error)
    if boxed:
        message = "`$".join(message.rsplit("`$[0]", 1))
    return InvalidValueError(readable(message))


def readable(message: str) -> str:
    """msgspec's message, with a path also for fields that are missing or unknown."""
    match = _PATH.fullmatch(message)
    text, path = (match["text"], match["path"]) if match else (message, "")
    if match and match["key"]:
        return f"{text} as a key - at `${path}`"
    field = _FIELD.fullmatch(text)
    if field is None:
        return f"{text} - at `${path}`"
    what = "Missing required field" if field["what"] == "missing required" else "Unknown field"
    name = shown(field["name"])
    return f"{what} `{name}` - at `${path}.{name}`"


def _kinds_in(annotation: Any, where: str) -> set[type]:
    """The kinds of types in an annotation.

    Raises:
        RegistrationError: One of them msgspec would take unseen, or ask isinstance() only.
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
