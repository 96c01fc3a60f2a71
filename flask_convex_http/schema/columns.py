"""Column types: the kind of stored value for an annotation, and the conversions to it and back.

Stored values are str, int, float, bool, bytes and None. Datetimes, dates and UUIDs are stored as text, and structured
values as JSON text. A decimal is stored as JSON too, which keeps its zeros, unless an index needs its order. An engine
maps the kinds to SQL types.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import types
import typing
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from flask_convex_http.schema import decimals
from flask_convex_http.validation.conversion import may_come_from_json
from flask_convex_http.validation.records import NotStorableError
from flask_convex_http.validation.validator import InvalidValueError, Validator

Kind = Literal["text", "integer", "real", "boolean", "blob", "datetime", "date", "uuid", "decimal", "json"]
#: Kinds that are stored as text.
TEXT_KINDS: frozenset[Kind] = frozenset({"text", "datetime", "date", "uuid", "decimal", "json"})
Store = Callable[[Any], Any]

_KINDS: dict[Any, Kind] = {
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "real",
    bytes: "blob",
    datetime.datetime: "datetime",
    datetime.date: "date",
    uuid.UUID: "uuid",
    decimal.Decimal: "decimal",
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column.

    Attributes:
        kind: The kind of stored value.
        store: Validates a Python value and returns the stored value. Raises InvalidValueError.
        load: Returns the Python value of a stored value that is not None. None if both are the same.
    """

    kind: Kind
    store: Store
    load: Callable[[Any], Any] | None


def column_type(annotation: Any, validator: Validator, *, indexed: bool) -> ColumnType:
    """Return the column type for an annotation and its validator.

    Args:
        annotation: The annotation of the field.
        validator: Its validator.
        indexed: Whether an index contains the column.
    """
    kind = kind_of(annotation)
    if kind == "decimal" and not indexed:
        kind = "json"
    if kind == "json":
        return ColumnType(kind, _store_json(annotation, validator), validator.load)
    store = _with_fast_path(annotation, _STORE.get(kind, _store_plain)(validator))
    return ColumnType(kind, store, _load_plain(annotation, kind, validator))


def kind_of(annotation: Any) -> Kind:
    """Return the kind of column for an annotation. Every annotation that is not one plain type is "json"."""
    kinds = {_plain_kind(member) for member in _members(annotation) if member is not type(None)}
    return kinds.pop() if len(kinds) == 1 else "json"


def stored_bound(kind: Kind, value: Any) -> Any:
    """Return the end of a range as it is stored.

    The field itself may exclude the value, as gt(0) is a valid range of a field of 1 and more.

    Raises:
        InvalidValueError: The value cannot be compared with the values of the column.
    """
    return _BOUNDS[kind](value.value if isinstance(value, enum.Enum) else value)


def fingerprint(validator: Validator) -> str:
    """Return a text that changes when an annotation starts to accept other values, so that rows must be checked."""
    tables = sorted({table for marker in validator.id_markers for table in marker.tables})
    described = msgspec.json.encode([validator.constraints, tables], order="deterministic")
    return hashlib.blake2b(described, digest_size=8).hexdigest()


def _members(annotation: Any) -> tuple[Any, ...]:
    annotation = _strip(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(part for member in get_args(annotation) for part in _members(member))
    return (annotation,)


def _strip(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _plain_kind(annotation: Any) -> Kind:
    if get_origin(annotation) is Literal:
        values = [value for value in get_args(annotation) if value is not None]
        return _kind_of_values(values)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _kind_of_values([member.value for member in annotation])
    return _KINDS.get(annotation, "json") if isinstance(annotation, type) else "json"


def _kind_of_values(values: list[Any]) -> Kind:
    kinds: set[Kind] = {_KINDS.get(type(value), "json") for value in values}
    return kinds.pop() if len(kinds) == 1 else "json"


# --- from Python to stored values ------------------------------------------------------------------------------------


def _with_fast_path(annotation: Any, store: Store) -> Store:
    """Return `store` with a fast path for common values of plain types, which need no validator."""
    plain = annotation
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        plain = members[0] if len(members) == 1 else None
    if plain is str:
        return lambda value: value if type(value) is str and value.isascii() else store(value)
    if plain is float:
        return lambda value: value + 0.0 if type(value) is float and value == value else store(value)
    if plain is int:
        return lambda value: value if type(value) is int and -(2**63) <= value < 2**63 else store(value)
    return store


def _store_plain(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        return checked.value if isinstance(checked, enum.Enum) else checked

    return store


def _store_text(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        text = checked.value if isinstance(checked, enum.Enum) else checked
        if text is not None and not text.isascii():
            reject_surrogates(text)
        return text

    return store


def reject_surrogates(text: str) -> None:
    """Raise NotStorableError for text with a lone surrogate, which no database and no JSON parser accepts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStorableError("Expected text without lone surrogates - at `$`") from None


def _store_integer(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        number = value.value if isinstance(value, enum.Enum) else value
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            raise NotStorableError("Expected an integer of 64 bits - at `$`")
        checked = validator.check(value)
        return checked.value if isinstance(checked, enum.Enum) else checked

    return store


def _store_real(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        if checked is None:
            return None
        if checked != checked:
            raise NotStorableError("Expected a number, got NaN (SQL has none) - at `$`")
        return checked + 0.0  # -0.0 becomes 0.0: they are equal, and databases differ in keeping the sign

    return store


def _store_datetime(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        if checked is None:
            return None
        if checked.utcoffset() is None:
            raise InvalidValueError("Expected a datetime with a timezone component - at `$`")
        try:
            # fixed width and always UTC, so that the order of text is the order of time
            return checked.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
        except OverflowError:
            raise NotStorableError("Expected a datetime that exists in UTC - at `$`") from None

    return store


def _store_date(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        return None if checked is None else checked.isoformat()

    return store


def _store_uuid(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        return None if checked is None else str(checked)

    return store


def _store_decimal(validator: Validator) -> Store:
    def store(value: Any) -> Any:
        checked = validator.check(value)
        if checked is None:
            return None
        text = decimals.to_text(checked)
        if text is None:
            raise NotStorableError(
                f"Expected a finite decimal with an exponent of at most {decimals.MAX_EXPONENT} - at `$`"
            )
        return text

    return store


def _store_json(annotation: Any, validator: Validator) -> Store:
    def store(value: Any) -> Any:
        if value is None and type(None) in _members(annotation):
            return None
        checked = validator.check(value)
        if checked is None:
            return None
        try:
            text = msgspec.json.encode(checked)
            same = validator.load(text) == checked
        except (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError):
            same = False
        if not same:
            kind = NotStorableError if may_come_from_json(checked) else InvalidValueError
            raise kind("Expected a value that JSON can hold (no NaN, bytes or dates in Any) - at `$`")
        return text.decode()

    return store


_STORE: dict[Kind, Callable[[Validator], Store]] = {
    "text": _store_text,
    "integer": _store_integer,
    "real": _store_real,
    "datetime": _store_datetime,
    "date": _store_date,
    "uuid": _store_uuid,
    "decimal": _store_decimal,
}
_LOAD: dict[Kind, Callable[[Any], Any]] = {
    "boolean": bool,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "uuid": uuid.UUID,
    "decimal": decimals.from_text,
}
_BOUNDS: dict[Kind, Store] = {
    kind: _STORE.get(kind, _store_plain)(Validator(annotation, kind)) for annotation, kind in _KINDS.items()
}


# --- from stored values to Python ------------------------------------------------------------------------------------


def _load_plain(annotation: Any, kind: Kind, validator: Validator) -> Callable[[Any], Any] | None:
    members = [member for member in _members(annotation) if member is not type(None)]
    if any(isinstance(member, type) and issubclass(member, enum.Enum) for member in members):
        return members[0] if len(members) == 1 else validator.check_json
    return _LOAD.get(kind)
