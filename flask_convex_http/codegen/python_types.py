"""Types and names in a generated Python module.

In a class, a member hides a name outside: after `def list(self)`, `list[Item]` is no type. Such names
are written in another way, `builtins.list` or `_datetime`.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterable

from flask_convex_http.codegen.names import free_name
from flask_convex_http.codegen.types import (
    Api,
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
    "any": "Any",
    "boolean": "bool",
    "bytes": "bytes",
    "date": "datetime.date",
    "datetime": "datetime.datetime",
    "decimal": "decimal.Decimal",
    "integer": "int",
    "null": "None",
    "number": "float",
    "pagination options": "Any",
    "sent integer": "int",
    "string": "str",
    "time": "datetime.time",
    "timedelta": "datetime.timedelta",
    "uuid": "uuid.UUID",
}
_MODULES = ("datetime", "decimal", "uuid")
BUILTINS = ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")
#: The type of the ids of files, which the constant part of the module has.
_STORED_FILE = {"_storage": "StoredFileId"}


class Types:
    """Writes the types of an app as annotations.

    Args:
        api: The app.
        taken: The names at the top of the module. Those of the types of ids are added.
        members: The names of all fields and methods.

    Attributes:
        ids: The name of the type of ids of each table that was needed.
        modules: The modules that have to be imported under another name.
    """

    def __init__(self, api: Api, taken: set[str], members: Iterable[str]) -> None:
        self.ids: dict[str, str] = {}
        self.modules: set[str] = set()
        self._classes = {table.name: table.document.name for table in api.tables}
        self._taken = taken
        self._members = frozenset(members)

    def of(self, kind: Type) -> str:
        """Return a type."""
        match kind:
            case Scalar(name):
                return self._visible(_SCALARS[name])
            case IdType(tables):
                return " | ".join(self._id(table) for table in tables) or self._visible("str")
            case LiteralType(values):
                return f"Literal[{', '.join(literal(value) for value in values)}]"
            case ArrayType(item):
                return f"{self._visible('list')}[{self.of(item)}]"
            case PageType(item):
                return f"Page[{self.of(item)}]"
            case TupleType(items):
                return f"{self._visible('tuple')}[{', '.join(self.of(item) for item in items) or '()'}]"
            case MapType(key, value):
                return f"{self._visible('dict')}[{self.of(key)}, {self.of(value)}]"
            case UnionType(members):
                return " | ".join(self.of(member) for member in members)
            case Record():
                return kind.name

    def declaration(self, field: Field, name: str) -> str:
        """Return a field of a class, or an argument, with its type and its default."""
        kind = self.of(field.type)
        if not field.is_optional:
            return f"{name}: {kind}"
        return f"{name}: {kind} = UNSET" if kind == "Any" else f"{name}: {kind} | Unset = UNSET"

    def _id(self, table: str) -> str:
        if table in _STORED_FILE:
            return _STORED_FILE[table]
        if table not in self.ids:
            words = "".join(word[0].upper() + word[1:] for word in table.split("_") if word)
            self.ids[table] = free_name(f"{self._classes.get(table, words)}Id", self._taken)
        return self.ids[table]

    def _visible(self, name: str) -> str:
        first, dot, rest = name.partition(".")
        if first not in self._members or first not in (*BUILTINS, *_MODULES):
            return name
        if first in BUILTINS:
            self.modules.add("builtins")
            return f"builtins.{name}"
        self.modules.add(first)
        return f"_{first}{dot}{rest}"


def literal(value: object) -> str:
    """Return a constant as source code."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def attribute(name: str) -> str:
    """Return a name as an identifier."""
    found = re.sub(r"\W", "_", name)
    if not found or found[0].isdigit():
        found = f"_{found}"
    return f"{found}_" if keyword.iskeyword(found) or found == "self" else found


def attributes(names: Iterable[str]) -> list[str]:
    """Return names as identifiers that differ."""
    taken: set[str] = set()
    return [free_name(attribute(name), taken) for name in names]


def docstring(text: str, indent: str) -> list[str]:
    """Return a docstring, or nothing if there is no text."""
    if not text:
        return []
    body = text.removesuffix('"')  # a quote before the closing quotes is escaped by itself
    safe = body.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + ('\\"' if body != text else "")
    first, *others = safe.splitlines()
    lines = [f'{indent}"""{first}', *(f"{indent}{line}".rstrip() for line in others)]
    return [f'{lines[0]}"""'] if not others else [*lines, f'{indent}"""']
