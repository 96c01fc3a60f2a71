"""Types in TypeScript."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

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
    TupleType,
    Type,
    UnionType,
)

_SCALARS: dict[ScalarName, str] = {
    "any": "any",
    "boolean": "boolean",
    "bytes": "ArrayBuffer",
    "date": "string",
    "datetime": "string",
    "decimal": "string",
    "integer": "bigint",
    "null": "null",
    "number": "number",
    "pagination options": "PaginationOptions",
    "sent integer": "number | bigint",
    "string": "string",
    "time": "string",
    "timedelta": "string",
    "uuid": "string",
}
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
INDENT = "  "


class Types:
    """Writes types.

    Args:
        id_type: The generic type of ids.
    """

    def __init__(self, id_type: str) -> None:
        self._id_type = id_type

    def of(self, kind: Type) -> str:
        """Return a type."""
        match kind:
            case Scalar(name):
                return _SCALARS[name]
            case IdType(tables):
                names = " | ".join(json.dumps(table) for table in tables)
                return f"{self._id_type}<{names}>" if tables else "string"
            case LiteralType(values, takes_numbers):
                return " | ".join(text for value in values for text in _literals(value, takes_numbers))
            case ArrayType(item):
                return f"Array<{self.of(item)}>"
            case PageType(item):
                return f"PaginationResult<{self.of(item)}>"
            case TupleType(items):
                return f"[{', '.join(self.of(item) for item in items)}]"
            case MapType(key, value):
                return self._map(key, value)
            case UnionType(members):
                return " | ".join(self.of(member) for member in members)
            case Record():
                is_stored = kind.table is not None and not kind.is_sent
                return f"Doc<{json.dumps(kind.table)}>" if is_stored else kind.name

    def object(self, fields: Sequence[Field], depth: int) -> str:
        """Return an object type, each field on a line."""
        pad = INDENT * (depth + 1)
        lines = (
            f"{pad}{key(field.wire)}{'?' if field.is_optional else ''}: {self.of(field.type)};\n" for field in fields
        )
        return f"{{\n{''.join(lines)}{INDENT * depth}}}"

    def inline_object(self, fields: Sequence[Field]) -> str:
        """Return an object type in one line."""
        members = (f"{key(field.wire)}{'?' if field.is_optional else ''}: {self.of(field.type)}" for field in fields)
        return f"{{ {'; '.join(members)} }}" if fields else "Record<string, never>"

    def record(self, record: Record) -> str:
        """Return the declaration of a record."""
        return f"{comment(record.description)}export type {record.name} = {self.object(record.fields, 0)};\n\n"

    def _map(self, kind: Type, value: Type) -> str:
        """Return a map. One whose keys are constants may lack some of them."""
        if isinstance(kind, LiteralType):
            return f"Partial<Record<{self.of(kind)}, {self.of(value)}>>"
        keys = self.of(kind) if isinstance(kind, IdType) else "string"
        return f"Record<{keys}, {self.of(value)}>"


def _literals(value: object, takes_numbers: bool) -> list[str]:
    """Return a constant. An integer is a bigint, for which clients may send a number."""
    if type(value) is not int:
        return [json.dumps(value, ensure_ascii=False)]
    return [str(value), f"{value}n"] if takes_numbers else [f"{value}n"]


def key(name: str) -> str:
    """Return the key of an object, with quotes where it needs them."""
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def comment(text: str, depth: int = 0) -> str:
    """Return a text as a comment for editors, or nothing if there is none."""
    if not text:
        return ""
    pad = INDENT * depth
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        return f"{pad}/** {lines[0]} */\n"
    return "".join([f"{pad}/**\n", *(f"{pad} * {line}".rstrip() + "\n" for line in lines), f"{pad} */\n"])
