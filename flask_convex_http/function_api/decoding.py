"""Read arguments from the wire, as the annotations say.

An annotation decides what JSON leaves open: whether a number is an int or a float, and which keys are names of fields.
The result is checked against the annotation afterwards, by the function itself. So a value of another type than the
annotation's is passed on as it is, and the function names it in its message.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from flask_convex_http.function_api.names import Casing, check_distinct, wire_name
from flask_convex_http.function_api.records import field_names, is_array, name_of
from flask_convex_http.function_api.values import ValueFormatError, decode, decode_special, is_special, number
from flask_convex_http.validation.annotations import (
    MAPPINGS,
    SEQUENCES,
    UNIONS,
    field_types,
    is_record,
    key_types,
    split_annotated,
)

Decode = Callable[[Any], Any]
#: The largest float whose integer value is certain.
_EXACT = 2.0**53


class Decoders:
    """Makes the decoder of each annotation.

    Args:
        casing: The casing of names on the wire.
    """

    def __init__(self, casing: Casing) -> None:
        self._casing = casing
        self._records: dict[Any, Decode] = {}

    def of(self, annotation: Any) -> Decode:
        """Return the function that decodes values of an annotation.

        Raises:
            RegistrationError: Two fields have one name on the wire.
        """
        base, _ = split_annotated(annotation)
        origin, parts = get_origin(base), get_args(base)
        if base is int or (isinstance(base, type) and issubclass(base, enum.Enum)):
            return decode_integer
        if base is float:
            return decode_float
        if origin is Literal:
            return decode_integer if any(type(value) is int for value in parts) else decode_leaf
        if origin in UNIONS:
            return self._union(parts)
        if origin in SEQUENCES or (origin is tuple and parts[-1:] == (...,)):
            return _sequence(self.of(parts[0]))
        if origin is tuple:
            return _fixed([self.of(part) for part in parts])
        if origin in MAPPINGS:
            return _mapping(self.of(parts[1]))
        if is_record(base) or typing.is_typeddict(base):
            return self._record(base)
        return decode if base in (Any, object, list, dict, tuple) else decode_leaf

    def fields(self, types: Mapping[str, Any], where: str, *, names: Mapping[str, str] | None = None) -> Decode:
        """Return the function that decodes an object with named fields.

        Args:
            types: The annotations by the name in Python.
            where: The thing whose fields they are, for messages.
            names: The name of each field in JSON, where it is not the one in Python.

        Raises:
            RegistrationError: Two fields have one name on the wire.
        """
        check_distinct(types, self._casing, where)
        names = names or {}
        decoders: dict[str, tuple[str, Decode]] = {}
        for name, annotation in types.items():
            key = names.get(name, name)
            wire = wire_name(name, self._casing) if key == name else key
            decoders[wire] = decoders[key] = (key, self.of(annotation))
        return _object(decoders)

    def _record(self, base: Any) -> Decode:
        if base in self._records:  # recursive: the decoder exists by the time a value is decoded
            return lambda value: self._records[base](value)
        self._records[base] = decode
        if typing.is_typeddict(base):
            types = {name: hint for name, (_, hint) in key_types(base).items()}
            made = self.fields(types, name_of(base))
        else:
            types = field_types(base)
            made = self.fields(types, name_of(base), names=field_names(base))
            if is_array(base):
                made = _fixed([self.of(hint) for hint in types.values()])
        self._records[base] = made
        return made

    def _union(self, members: tuple[Any, ...]) -> Decode:
        """Return the decoder of a union, which chooses by the kind of the JSON value."""
        split = [split_annotated(member)[0] for member in members]
        records = [base for base in split if (is_record(base) and not is_array(base)) or typing.is_typeddict(base)]
        mappings = [base for base in split if get_origin(base) in MAPPINGS]
        lists = [
            base for base in split if get_origin(base) in (*SEQUENCES, tuple) or (is_record(base) and is_array(base))
        ]
        if any(base in (Any, object) for base in split):
            return decode
        objects = _tagged({base: self.of(base) for base in records}) if records else None
        if objects is None and mappings:
            objects = self.of(mappings[0])
        sequence = self.of(lists[0]) if lists else decode
        has_float = float in split
        numeric = [self.of(base) for base in split if self.of(base) is decode_integer]
        decode_number = decode_float_or_int if has_float and numeric else decode_float if has_float else decode_integer

        def decode_member(value: Any) -> Any:
            kind = type(value)
            if kind is dict:
                return decode(value) if objects is None or is_special(value) else objects(value)
            if kind is list:
                return sequence(value)
            return decode_number(value)

        return decode_member


def decode_leaf(value: Any) -> Any:
    """Decode a value of a type that JSON has, or that JSON writes as text."""
    return decode(value) if type(value) in (dict, list) else value


def decode_integer(value: Any) -> Any:
    """Decode an int: an int64, or a number without a fraction, as clients write numbers."""
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return decode(value) if type(value) in (dict, list) else value


def decode_float(value: Any) -> Any:
    """Decode a float."""
    if type(value) is int:
        return number(value)
    decoded = decode_leaf(value)
    if type(decoded) is int:
        raise ValueFormatError("Expected `float64`, got `int64`")
    return decoded


def decode_float_or_int(value: Any) -> Any:
    """Decode a float or an int. A plain number is a float."""
    return decode(value)


def _sequence(item: Decode) -> Decode:
    return lambda value: [item(part) for part in value] if type(value) is list else decode(value)


def _fixed(items: list[Decode]) -> Decode:
    def decode_fixed(value: Any) -> Any:
        if type(value) is not list or len(value) > len(items):
            return decode(value)
        return [item(part) for item, part in zip(items, value, strict=False)]

    return decode_fixed


def _mapping(item: Decode) -> Decode:
    def decode_mapping(value: Any) -> Any:
        if type(value) is not dict or is_special(value):
            return decode(value)
        return {key: item(part) for key, part in value.items()}

    return decode_mapping


def _object(decoders: Mapping[str, tuple[str, Decode]]) -> Decode:
    def decode_object(value: Any) -> Any:
        if type(value) is not dict:
            return decode(value)
        found: dict[str, Any] = {}
        for wire, part in value.items():
            known = decoders.get(wire)
            if known is None:
                if wire[:1] == "$":
                    return decode_special(value)
                found[wire] = decode(part)
                continue
            name, read = known
            if name in found:
                raise ValueFormatError(f"Object has the field `{wire}` twice, with two spellings")
            found[name] = read(part)
        return found

    return decode_object


def _tagged(records: Mapping[Any, Decode]) -> Decode:
    """Return the decoder of one of several records: by tag, or else the one whose fields fit best."""
    if len(records) == 1:
        return next(iter(records.values()))
    tags = dict(_tags(records))

    def decode_tagged(value: Any) -> Any:
        for (field, tag), read in tags.items():
            if value.get(field) == tag:
                return read(value)
        return next(iter(records.values()))(value)

    return decode_tagged


def _tags(records: Mapping[Any, Decode]) -> Iterator[tuple[tuple[str, Any], Decode]]:
    for record, read in records.items():
        kind = get_origin(record) or record
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag is not None:
            yield (kind.__struct_config__.tag_field or "type", kind.__struct_config__.tag), read
