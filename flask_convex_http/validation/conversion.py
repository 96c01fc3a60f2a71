"""msgspec, as `validation` uses it: what it is called with, the unions it has no words for, and its messages.

What lives here turns one value into another by a type that msgspec understands; which type that is for an
annotation is `validation`'s work.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from flask_convex_http.errors import RegistrationError
from flask_convex_http.validation.annotations import describe
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
        self._trusting: dict[str, Any] = {}
        if not kinds.isdisjoint(_INSPECTED_PYTHON_TYPES):
            self._trusting["builtin_types"] = PYTHON_TYPES
        self._untrusting = self._trusting
        if msgspec.inspect.CustomType in kinds:
            self._untrusting = self._trusting | {"dec_hook": _one_of_untrusted}
            self._trusting = self._trusting | {"dec_hook": _one_of}

    def python(self, value: Any, trusting: bool) -> Any:
        """Convert what Python code gave."""
        options = self._trusting if trusting else self._untrusting
        return msgspec.convert(value, self.struct, **options) if options else msgspec.convert(value, self.struct)

    def fields(self, values: dict[str, Any], trusting: bool) -> Any:
        """Convert the fields of an instance.

        Raises:
            InvalidValueError: One does not match.
        """
        try:
            return self.python(values, trusting)
        except REFUSALS as error:
            raise refusal(error) from None

    def json(self, value: Any) -> Any:
        """Convert what came out of a JSON parser."""
        return msgspec.convert(value, self.struct, dec_hook=one_of_json, str_keys=True)


class _AlwaysAnInstance(type):
    """msgspec asks whether what a hook returned is an instance of the custom type; the hook has seen to it."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class Member(Protocol):
    """What a member of a union is checked with."""

    annotation: Any

    def check(self, value: Any, *, trusting: bool = True) -> Any: ...
    def check_json(self, value: Any) -> Any: ...


class OneOf(metaclass=_AlwaysAnInstance):
    """Stands for a union that msgspec has no words for; the first member that accepts the value wins."""

    members: Sequence[Any]

    @staticmethod
    def of(members: Sequence[Any]) -> Any:
        return _AlwaysAnInstance("OneOf", (OneOf,), {"members": members})


def _one_of(placeholder: type[OneOf], value: Any) -> Any:
    return _first_match(placeholder, lambda member: member.check(value))


def _one_of_untrusted(placeholder: type[OneOf], value: Any) -> Any:
    return _first_match(placeholder, lambda member: member.check(value, trusting=False))


def one_of_json(placeholder: type[OneOf], value: Any) -> Any:
    return _first_match(placeholder, lambda member: member.check_json(value))


def _first_match(placeholder: type[OneOf], check: Callable[[Member], Any]) -> Any:
    errors = []
    for member in placeholder.members:
        try:
            return check(member)
        except InvalidValueError as error:
            errors.append(error)
    if len(errors) == 1:
        raise ValueError(errors[0].text)
    raise ValueError(f"Expected {' | '.join(describe(member.annotation) for member in placeholder.members)}")


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
        if isinstance(node, _UNCHECKED_TYPES) and not issubclass(getattr(node, "cls", object), OneOf):
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
