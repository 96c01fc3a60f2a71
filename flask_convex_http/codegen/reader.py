"""Read annotations: the type that each has for clients."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NotRequired, get_args, get_origin

import msgspec
from msgspec import UnsetType

from flask_convex_http.codegen.types import (
    ArrayType,
    Field,
    IdType,
    LiteralType,
    MapType,
    PageType,
    Record,
    Scalar,
    ScalarName,
    Tag,
    TupleType,
    Type,
    UnionType,
)
from flask_convex_http.database.pages import Page, PaginationOptions
from flask_convex_http.function_api.names import Casing, wire_name
from flask_convex_http.ids import IdOf
from flask_convex_http.schema.documents import Schema
from flask_convex_http.validation.annotations import (
    MAPPINGS,
    SEQUENCES,
    UNIONS,
    field_types,
    is_document,
    is_record,
    key_types,
    split_annotated,
)
from flask_convex_http.web.openapi.texts import described

ANY = Scalar("any")
NULL = Scalar("null")
NUMBER = Scalar("number")
_SCALARS: dict[Any, ScalarName] = {
    type(None): "null",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    bytes: "bytes",
    bytearray: "bytes",
    datetime.datetime: "datetime",
    datetime.date: "date",
    datetime.time: "time",
    datetime.timedelta: "timedelta",
    uuid.UUID: "uuid",
    decimal.Decimal: "decimal",
}


class Reader:
    """Reads the annotations of an app, and collects the records in them.

    Args:
        schema: The tables.
        casing: The casing of names for clients.
        for_javascript: Whether the clients are those of Convex. They have two types of numbers, of which they may send
            either, and a type of their own for the options of a page.

    Attributes:
        records: The records so far.
    """

    def __init__(self, schema: Schema, casing: Casing, *, for_javascript: bool) -> None:
        self.records: list[Record] = []
        self._casing = casing
        self._for_javascript = for_javascript
        self._id_prefixes = schema.id_prefixes
        self._tables = {prefix: table.name for table in schema.tables.values() for prefix in table.id_prefixes}
        self._known: dict[tuple[Any, bool], Record] = {}

    def type_of(self, annotation: Any, *, is_sent: bool) -> Type:
        """Return the type of a value.

        Args:
            annotation: Its annotation.
            is_sent: Whether clients send the value, and do not receive it.
        """
        base, metadata = split_annotated(annotation)
        for marker in metadata:
            if isinstance(marker, IdOf):
                return self._id(marker)
        if base is int and is_sent and self._for_javascript:
            return Scalar("sent integer")
        if base in _SCALARS:
            return Scalar(_SCALARS[base])
        if base is PaginationOptions and self._for_javascript:
            return Scalar("pagination options")
        return self._compound(base, is_sent)

    def field(
        self, name: str, annotation: Any, *, is_sent: bool, is_optional: bool = False, encoded: str | None = None
    ) -> Field:
        """Return a field or an argument.

        Args:
            name: Its name in Python.
            annotation: Its annotation.
            is_sent: Whether clients send it, and do not receive it.
            is_optional: Whether it may be absent.
            encoded: Its name in JSON. One that differs from the name in Python has no casing.
        """
        may_be_unset = UnsetType in get_args(split_annotated(annotation)[0])
        kind = self.type_of(annotation, is_sent=is_sent)
        wire = wire_name(name, self._casing) if encoded in (name, None) else encoded
        return Field(name, wire, kind, is_optional or may_be_unset)

    def _id(self, marker: IdOf) -> IdType:
        marker.bind(self._id_prefixes)  # annotations that are texts make a new marker at each evaluation
        return IdType(tuple(sorted({self._tables[prefix] for prefix in marker.tables})))

    def _literal(self, values: tuple[Any, ...], is_sent: bool) -> LiteralType:
        return LiteralType(values, takes_numbers=is_sent and self._for_javascript)

    def _compound(self, base: Any, is_sent: bool) -> Type:
        """Return a type with parts."""
        origin, parts = get_origin(base) or base, get_args(base)
        if origin is Literal:
            return self._literal(parts, is_sent)
        types = tuple(self.type_of(part, is_sent=is_sent) for part in parts if part not in (..., UnsetType))
        if origin in UNIONS:
            return union_of(types)
        if origin is Page:
            return PageType(types[0] if types else ANY)
        if origin in SEQUENCES or (origin is tuple and (not parts or parts[-1] is ...)):
            return ArrayType(types[0] if types else ANY)
        if origin is tuple:
            return TupleType(types)
        if origin in MAPPINGS:
            return MapType(*types) if types else MapType(Scalar("string"), ANY)
        return self._of_class(base, origin, is_sent)

    def _of_class(self, base: Any, kind: Any, is_sent: bool) -> Type:
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return self._literal(tuple(member.value for member in kind), is_sent)
        if typing.is_typeddict(kind):
            return self._record(base, is_sent, self._keys)
        if not is_record(base):
            return ANY
        is_struct = issubclass(kind, msgspec.Struct)
        if issubclass(kind, tuple) or (is_struct and kind.__struct_config__.array_like):
            tag = kind.__struct_config__.tag if is_struct else None
            items = [self.type_of(hint, is_sent=is_sent) for hint in field_types(base).values()]
            return TupleType(tuple(items if tag is None else [Tag((tag,)), *items]))
        return self._record(base, is_sent, self._struct_fields if is_struct else self._dataclass_fields)

    # --- records ----------------------------------------------------------------------------------------------------

    def _record(self, base: Any, is_sent: bool, fields: Callable[[Any, bool], Iterable[Field]]) -> Record:
        found = self._known.get((base, is_sent))
        if found is not None:
            return found
        kind = get_origin(base) or base
        table = kind.__convex_table__ if is_document(kind) else None
        record = Record(
            base, is_sent, None if table is None or table.system else table.name, described(_own_docstring(kind))
        )
        self._known[base, is_sent] = record  # before its fields, which may lead back to it
        self.records.append(record)
        record.fields = tuple(fields(base, is_sent))
        return record

    def _keys(self, base: Any, is_sent: bool) -> Iterator[Field]:
        for name, (qualifier, hint) in key_types(get_origin(base) or base).items():
            yield self.field(name, hint, is_sent=is_sent, is_optional=qualifier is NotRequired)

    def _struct_fields(self, base: Any, is_sent: bool) -> Iterator[Field]:
        kind = get_origin(base) or base
        fields, config = msgspec.structs.fields(base), kind.__struct_config__
        if config.tag is not None:
            yield Field(config.tag_field, config.tag_field, Tag((config.tag,)), False)
        if is_document(kind):
            fields = tuple(field for field in fields if field.name not in ("id", "creation_time"))
            if not is_sent and kind.__convex_table__ is not None:  # it is stored, so it has both
                yield Field("id", "_id", IdType((kind.__convex_table__.name,)), False)
                yield Field("creation_time", "_creationTime", NUMBER, False)
        for field in fields:
            is_optional = not field.required and (is_sent or config.omit_defaults)
            yield self.field(
                field.name, field.type, is_sent=is_sent, is_optional=is_optional, encoded=field.encode_name
            )

    def _dataclass_fields(self, base: Any, is_sent: bool) -> Iterator[Field]:
        hints = field_types(base)
        for field in dataclasses.fields(get_origin(base) or base):
            has_default = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
            yield self.field(field.name, hints[field.name], is_sent=is_sent, is_optional=is_sent and has_default)


def union_of(members: Iterable[Type]) -> Type:
    """Return the union of types: each once, with null at the end."""
    flat = [part for member in members for part in (member.members if isinstance(member, UnionType) else (member,))]
    if ANY in flat:
        return ANY
    types = list(dict.fromkeys(sorted(flat, key=lambda member: member == NULL)))
    return types[0] if len(types) == 1 else UnionType(tuple(types))


def _own_docstring(kind: type) -> str | None:
    """Return the docstring of a class, unless it is inherited or made by `dataclass`."""
    text = vars(kind).get("__doc__")
    return None if text is None or text.startswith(f"{kind.__name__}(") else text
