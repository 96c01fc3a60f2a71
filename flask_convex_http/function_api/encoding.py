"""Write results for the wire: in encoded JSON for Convex's clients, or in clean JSON for everyone else.

The type of a value decides how it is written. Only a TypedDict needs its annotation, since its values are dicts, whose
keys are data otherwise.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET

from flask_convex_http.function_api.names import Casing, wire_name
from flask_convex_http.function_api.records import field_names
from flask_convex_http.function_api.values import (
    ValueFormatError,
    clean_bytes,
    clean_float,
    clean_integer,
    encode_bytes,
    encode_float,
    encode_integer,
    encode_text,
)
from flask_convex_http.validation.annotations import (
    MAPPINGS,
    SEQUENCES,
    UNIONS,
    field_types,
    is_record,
    key_types,
    split_annotated,
)

Encode = Callable[[Any], Any]
#: "encoded" is `convex_encoded_json`, and "clean" is `json`.
Form = Literal["encoded", "clean"]

_TEXTS = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, decimal.Decimal)
_LEAVES: dict[Form, tuple[Encode, Encode, Encode]] = {
    "encoded": (encode_integer, encode_float, encode_bytes),
    "clean": (clean_integer, clean_float, clean_bytes),
}


class Encoders:
    """Encodes Python values in one form.

    Args:
        casing: The casing of names on the wire.
        form: The form of values.
    """

    def __init__(self, casing: Casing, form: Form) -> None:
        self._casing = casing
        integer, real, data = _LEAVES[form]
        self._refuses_dollar = form == "encoded"
        self._by_type: dict[type, Encode] = {
            str: encode_text,
            bool: _same,
            type(None): _same,
            int: integer,
            float: real,
            bytes: data,
            bytearray: data,
            memoryview: data,
            dict: self._dict,
            list: self._list,
            tuple: self._list,
            set: self._list,
            frozenset: self._list,
        }
        self._typed_dicts: dict[Any, Encode] = {}

    def encode(self, value: Any) -> Any:
        """Return a value as JSON of this form.

        Raises:
            ValueFormatError: Clients cannot receive it.
        """
        encode = self._by_type.get(type(value))
        return encode(value) if encode is not None else self._encoder_of(type(value), value)(value)

    def of(self, annotation: Any) -> Encode:
        """Return the function that encodes the values of an annotation."""
        return self._special(annotation) or self.encode

    # --- by type -----------------------------------------------------------------------------------------------------

    def _dict(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        return {self._key(key): self.encode(part) for key, part in value.items()}

    def _list(self, value: collections.abc.Iterable[Any]) -> list[Any]:
        by_type, encode = self._by_type, self.encode
        return [by_type.get(type(part), encode)(part) for part in value]

    def _key(self, key: Any) -> str:
        text = key.value if isinstance(key, enum.Enum) else key
        if not isinstance(text, str):
            text = str(msgspec.to_builtins(text, str_keys=True))
        if self._refuses_dollar and text[:1] == "$":
            raise ValueFormatError(f"a key of a dict is {text[:40]!r}; no key may begin with $")
        return encode_text(text)

    def _encoder_of(self, kind: type, value: Any) -> Encode:
        """Return the encoder of a type that was not seen before, and keep it."""
        if isinstance(value, enum.Enum):
            made: Encode = lambda member: self.encode(member.value)  # noqa: E731
        elif is_record(kind):
            made = self._record(kind)
        elif issubclass(kind, _TEXTS):
            made = msgspec.to_builtins
        else:
            made = self._subclass(kind)
        self._by_type[kind] = made
        return made

    def _subclass(self, kind: type) -> Encode:
        for base in (str, bool, int, float, bytes, dict, list, tuple, set, frozenset):
            if issubclass(kind, base):
                plain = self._by_type[base]
                return (lambda value: encode_text(str.__str__(value))) if base is str else plain
        if issubclass(kind, collections.abc.Mapping):
            return self._dict
        if issubclass(kind, (collections.abc.Sequence, collections.abc.Set)):
            return self._list
        raise ValueFormatError(f"a value is of type {kind.__name__}, which JSON cannot hold")

    def _record(self, kind: Any) -> Encode:
        if issubclass(kind, tuple):
            return self._fixed(tuple(field_types(kind).values()))
        if dataclasses.is_dataclass(kind):
            hints = field_types(kind)
            return self._named(
                [(name, self.wire(kind, name), self.of(hint), NODEFAULT) for name, hint in hints.items()]
            )
        fields = msgspec.structs.fields(kind)
        config = kind.__struct_config__
        if config.array_like:
            return self._array(fields, config.tag)
        head = {config.tag_field or "type": self.encode(config.tag)} if config.tag is not None else {}
        rows = [
            (field.name, self.wire(kind, field.name), self.of(field.type), _default(field, config.omit_defaults))
            for field in fields
        ]
        return self._named(rows, head)

    def _array(self, fields: tuple[msgspec.structs.FieldInfo, ...], tag: Any) -> Encode:
        items = self._fixed(tuple(field.type for field in fields))
        head = [] if tag is None else [self.encode(tag)]
        return lambda value: head + items([getattr(value, field.name) for field in fields])

    def _named(self, rows: list[tuple[str, str, Encode, Any]], head: Mapping[str, Any] | None = None) -> Encode:
        by_type, encode_any = self._by_type, self.encode
        # None stands for the encoder of the value's type, which is looked up here without a call
        fields = [
            (name, wire, None if encode == encode_any else encode, default) for name, wire, encode, default in rows
        ]

        def encode_record(value: Any) -> dict[str, Any]:
            encoded = dict(head) if head else {}
            for name, wire, encode, default in fields:
                part = getattr(value, name)
                if part is UNSET or (default is not NODEFAULT and part == default):
                    continue
                encoded[wire] = (encode or by_type.get(type(part), encode_any))(part)
            return encoded

        return encode_record

    def wire(self, kind: Any, name: str) -> str:
        """Return the name of a record's field as clients write it."""
        encoded = field_names(kind).get(name, name)
        return wire_name(name, self._casing) if encoded == name else encoded

    # --- by annotation -----------------------------------------------------------------------------------------------

    def _special(self, annotation: Any) -> Encode | None:
        """Return the encoder of an annotation that contains a TypedDict, or None if the value's type suffices."""
        base, _ = split_annotated(annotation)
        origin, parts = get_origin(base), get_args(base)
        if typing.is_typeddict(base):
            return self._typed_dict(base)
        if origin in UNIONS:
            return self._union(parts)
        if origin in SEQUENCES or (origin is tuple and parts[-1:] == (...,)):
            return self._sequence(parts[0])
        if origin is tuple:
            return self._fixed(parts)
        if origin in MAPPINGS:
            return self._mapping(parts[1])
        if is_record(base) and origin is not None:
            return self._generic(origin, base)
        return None

    def _sequence(self, part: Any) -> Encode | None:
        item = self._special(part)
        return None if item is None else lambda value: [item(each) for each in value]

    def _fixed(self, parts: tuple[Any, ...]) -> Encode:
        items = [self.of(part) for part in parts]
        return lambda value: [item(each) for item, each in zip(items, value, strict=True)]

    def _mapping(self, part: Any) -> Encode | None:
        item = self._special(part)
        return None if item is None else lambda value: {self._key(key): item(each) for key, each in value.items()}

    def _typed_dict(self, base: Any) -> Encode:
        known = self._typed_dicts.get(base)
        if known is not None:
            return known
        keys: dict[str, tuple[str, Encode]] = {}

        def encode_keys(value: Mapping[str, Any]) -> dict[str, Any]:
            encoded = {}
            for key, part in value.items():
                wire, encode = keys.get(key) or (self._key(key), self.encode)
                encoded[wire] = encode(part)
            return encoded

        self._typed_dicts[base] = encode_keys  # before the keys, since it may contain itself
        for name, (_, hint) in key_types(base).items():
            keys[name] = wire_name(name, self._casing), self.of(hint)
        return encode_keys

    def _generic(self, kind: type, base: Any) -> Encode | None:
        """Return the encoder of a generic struct whose arguments contain a TypedDict, such as `Page[Row]`."""
        types = field_types(base)
        if all(self._special(hint) is None for hint in types.values()):
            return None
        rows = [(name, self.wire(kind, name), self.of(hint), NODEFAULT) for name, hint in types.items()]
        return self._named(rows)

    def _union(self, members: tuple[Any, ...]) -> Encode | None:
        bases = [split_annotated(member)[0] for member in members]
        found = [(base, encode) for base in bases if (encode := self._special(base)) is not None]
        if not found:
            return None
        for_dicts = [encode for base, encode in found if typing.is_typeddict(base) or get_origin(base) in MAPPINGS]
        for_lists = [encode for base, encode in found if get_origin(base) in (*SEQUENCES, tuple)]
        for_records = {get_origin(base): encode for base, encode in found if is_record(base)}

        def encode_member(value: Any) -> Any:
            chosen = for_records.get(type(value))
            if chosen is None and isinstance(value, collections.abc.Mapping):
                chosen = for_dicts[0] if for_dicts else None
            elif chosen is None and isinstance(value, list | tuple | set | frozenset):
                chosen = for_lists[0] if for_lists else None
            return self.encode(value) if chosen is None else chosen(value)

        return encode_member


def _same(value: Any) -> Any:
    return value


def _default(field: msgspec.structs.FieldInfo, omits: bool) -> Any:
    """Return the default that a struct leaves out in JSON, or NODEFAULT if it leaves out none."""
    if not omits:
        return NODEFAULT
    if field.default is not NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory in (list, dict, set) else NODEFAULT
