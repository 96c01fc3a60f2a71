"""Convert texts: the fields of a query string or a form, and the variables of a path.

Numbers, booleans and null are coerced, `"5"` to 5 and `"true"` to True. Dates, UUIDs, ids and the like, which are
text in JSON too, are read as in JSON. NaN, infinity, `1e2` for an integer and a number for a date are refused, although
msgspec would coerce them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from msgspec import inspect

from flask_convex_http.errors import RegistrationError
from flask_convex_http.validation.annotations import UNIONS, describe, split_annotated, split_union
from flask_convex_http.validation.records import InvalidValueError, shorten
from flask_convex_http.validation.validator import Validator

_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType, inspect.TupleType)
_RECORDS = (inspect.StructType, inspect.TypedDictType, inspect.DataclassType)
_TEXT = (inspect.StrType, inspect.AnyType)
_NUMBERS = (inspect.FloatType, inspect.DecimalType)
_TIMES = (inspect.DateTimeType, inspect.TimeDeltaType)
_SCALARS = (
    *_NUMBERS,
    *_TIMES,
    inspect.AnyType,
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.StrType,
    inspect.BytesType,
    inspect.ByteArrayType,
    inspect.TimeType,
    inspect.DateType,
    inspect.UUIDType,
    inspect.EnumType,
    inspect.LiteralType,
)
_NOT_FINITE = re.compile(r"[+-]?s?(?:nan\d*|inf(?:inity)?)", re.IGNORECASE)
_FRACTION = re.compile(r"[+-]?[0-9]*[.e][0-9.e+-]*", re.IGNORECASE)
_NUMERIC = re.compile(r"[+-]?[0-9.]+(?:e[+-]?[0-9]+)?", re.IGNORECASE)


class TextConverter:
    """Converts one text, such as a variable of a path.

    Args:
        annotation: The type. None is not one of its values, even if the type allows it.
        where: The annotated place, for messages.

    Raises:
        RegistrationError: A text cannot be converted to the type.
        NameError: The annotation names a class that is not defined yet.
    """

    def __init__(self, annotation: Any, where: str) -> None:
        self._validator = Validator(_present(annotation), where)
        self._field = _Field(inspect.type_info(self._validator.type))
        if self._field.problem or self._field.takes_many:
            raise RegistrationError(
                f"{where}: {describe(annotation)} is not the type of one text; write str, int, float, bool, date, "
                "datetime, UUID, Id[...], a Literal or an Enum"
            )

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the tables of ids; see `Validator.bind`."""
        return self._validator.bind(id_prefixes)

    def convert(self, value: Any) -> Any:
        """Convert a text, or check a number or UUID that a URL converter has made.

        Raises:
            InvalidValueError: It does not match.
        """
        if isinstance(value, str):
            self._field.check([value], "")
        return self._validator.convert_texts(value)


class TextRecordConverter:
    """Converts the fields of a query string or a form to a struct, TypedDict, dataclass or dict.

    A field whose type is a list or a set takes all values of its key. Any other field takes one.

    Args:
        annotation: The type.
        where: The annotated place, for messages.

    Raises:
        RegistrationError: The type is no record of texts and lists of texts.
        NameError: The annotation names a class that is not defined yet.
    """

    def __init__(self, annotation: Any, where: str) -> None:
        self._validator = Validator(annotation, where)
        described = inspect.type_info(self._validator.type)
        self._fields: dict[str, _Field] = {}
        self._other = _Field(inspect.AnyType())
        if isinstance(described, inspect.DictType) and isinstance(
            described.key_type, inspect.StrType | inspect.AnyType
        ):
            self._other = _Field(described.value_type)
        elif isinstance(described, _RECORDS) and not getattr(described, "array_like", False):
            self._fields = {field.encode_name: _Field(field.type) for field in described.fields}
        else:
            raise RegistrationError(
                f"{where}: {describe(annotation)} has no fields by name; write a msgspec.Struct, a TypedDict, a "
                "dataclass or dict[str, str]. Give a field that may be absent a default"
            )
        for name, field in [*self._fields.items(), ("a value", self._other)]:
            if field.problem:
                raise RegistrationError(
                    f"{where}: {name} of {describe(annotation)} cannot be sent as text, since it is {field.problem}; "
                    "use str, int, float, bool, date, datetime, UUID, Id[...], a Literal, an Enum, or a list of these"
                )

    def bind(self, id_prefixes: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Resolve the tables of ids; see `Validator.bind`."""
        return self._validator.bind(id_prefixes)

    def convert(self, fields: Iterable[tuple[str, list[str]]]) -> Any:
        """Convert fields, each with all its values.

        Raises:
            InvalidValueError: A field is missing, unknown, repeated or does not match.
        """
        values: dict[str, Any] = {}
        for name, texts in fields:
            field = self._fields.get(name, self._other)
            field.check(texts, f".{shorten(name)}")
            values[name] = texts if field.takes_many or (len(texts) > 1 and field.takes_both) else texts[0]
            if len(texts) > 1 and not (field.takes_many or field.takes_both):
                raise InvalidValueError(f"Expected one value, got {len(texts)} - at `$.{shorten(name)}`")
        return self._validator.convert_texts(values)


class _Field:
    """How the type of a field takes texts.

    Attributes:
        takes_many: Whether all values are passed as a list.
        takes_both: Whether several values are passed as a list, and a single one by itself.
        problem: The part of the type that no text can be converted to, or an empty text.
    """

    __slots__ = ("_refused", "_refused_message", "problem", "takes_both", "takes_many")

    def __init__(self, described: inspect.Type) -> None:
        nodes = list(_members(described))
        lists = [node for node in nodes if isinstance(node, _LISTS)]
        present = [node for node in nodes if not isinstance(node, (*_LISTS, inspect.NoneType))]
        is_any = any(isinstance(node, inspect.AnyType) for node in nodes)
        self.takes_many = bool(lists) and not present
        self.takes_both = is_any or (bool(lists) and bool(present))
        items = [item for node in lists for part in _items(node) for item in _members(part)]
        scalars = [*present, *items]
        wrong = [node for node in scalars if not isinstance(node, _SCALARS)]
        self.problem = _described(wrong[0]) if wrong else ""
        self._refused: re.Pattern[str] | None = None
        self._refused_message = ""
        if not any(isinstance(node, _TEXT) for node in scalars):
            self._refuse(scalars)

    def _refuse(self, scalars: list[inspect.Type]) -> None:
        kinds = {type(node) for node in scalars}
        if not kinds.isdisjoint(_NUMBERS):
            self._refused, self._refused_message = _NOT_FINITE, "Expected a finite number"
        elif inspect.IntType in kinds:
            self._refused, self._refused_message = _FRACTION, "Expected `int`, got `str`"
        elif not kinds.isdisjoint(_TIMES):
            kind = "ISO8601 duration" if inspect.TimeDeltaType in kinds else "RFC3339 encoded datetime"
            self._refused, self._refused_message = _NUMERIC, f"Invalid {kind}"

    def check(self, texts: list[str], step: str) -> None:
        """Raise InvalidValueError for a text that msgspec would accept, but JSON could not send."""
        if self._refused is not None and any(self._refused.fullmatch(text) for text in texts):
            raise InvalidValueError(f"{self._refused_message} - at `${step}`")


def _members(described: inspect.Type) -> Iterable[inspect.Type]:
    if isinstance(described, inspect.Metadata):
        described = described.type
    return described.types if isinstance(described, inspect.UnionType) else (described,)


def _items(described: Any) -> Iterable[inspect.Type]:
    return described.item_types if isinstance(described, inspect.TupleType) else (described.item_type,)


def _described(described: Any) -> str:
    if isinstance(described, _LISTS):
        return "a list of lists"
    return "an object" if not isinstance(described, inspect.CustomType) else "of a class of your own"


def _present(annotation: Any) -> Any:
    """Return a type without None, which no text of a path stands for."""
    base, _ = split_annotated(annotation)
    if get_origin(base) not in UNIONS:
        return annotation
    values, absent = split_union(get_args(base))
    return Union[tuple(values)] if values and absent else annotation  # noqa: UP007
