"""The types of arguments and results, as the writers of clients need them.

They have the names and forms of the wire, without the limits of validation. A record
that clients send has optional fields where the class has defaults. In a record that they receive all fields are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from flask_convex_http.functions.function import Kind

ScalarName = Literal[
    "any",
    "boolean",
    "bytes",
    "date",
    "datetime",
    "decimal",
    "integer",
    "null",
    "number",
    "pagination options",
    "sent integer",
    "string",
    "time",
    "timedelta",
    "uuid",
]


@dataclass(frozen=True)
class Scalar:
    """A type without parts."""

    name: ScalarName


@dataclass(frozen=True)
class IdType:
    """The ids of some tables, or of any table if there are none."""

    tables: tuple[str, ...]


@dataclass(frozen=True)
class LiteralType:
    """One of some constants, such as the values of an Enum.

    Attributes:
        values: The constants.
        takes_numbers: Whether a client may also send a number instead of an integer.
    """

    values: tuple[str | int | bool | None, ...]
    takes_numbers: bool = False


class Tag(LiteralType):
    """The constant that tells a record from the others of a union."""


@dataclass(frozen=True)
class ArrayType:
    """An array of any length."""

    item: Type


@dataclass(frozen=True)
class TupleType:
    """An array whose items have types of their own."""

    items: tuple[Type, ...]


@dataclass(frozen=True)
class MapType:
    """An object with any keys."""

    key: Type
    value: Type


@dataclass(frozen=True)
class PageType:
    """A page of a paginated query."""

    item: Type


@dataclass(frozen=True)
class UnionType:
    """One of several types."""

    members: tuple[Type, ...]


@dataclass(frozen=True)
class Field:
    """A field of a record, or an argument.

    Attributes:
        name: Its name in Python.
        wire: Its name for clients.
        type: Its type.
        is_optional: Whether it may be absent.
    """

    name: str
    wire: str
    type: Type
    is_optional: bool


@dataclass(eq=False)
class Record:
    """An object with fields. Its fields and its name are set later, since a record may contain itself.

    Attributes:
        annotation: Its class, with the arguments of a generic one.
        is_sent: Whether clients send it, and do not receive it.
        table: The table whose documents it describes, or None.
        description: The docstring of its class.
        fields: Its fields in the order of the class.
        name: Its name. Only the two records of one class, one that is sent and one that is not, may share it.
    """

    annotation: Any
    is_sent: bool
    table: str | None
    description: str
    fields: tuple[Field, ...] = ()
    name: str = ""


#: A union and not a base class, so that type checkers see whether a `match` is complete.
Type: TypeAlias = Scalar | IdType | LiteralType | ArrayType | TupleType | MapType | PageType | UnionType | Record


@dataclass(frozen=True)
class CallableFunction:
    """A public function.

    Attributes:
        path: The modules and the name that clients use.
        python_path: The modules and the name in Python.
        kind: "query", "mutation" or "action".
        arguments: Its arguments.
        result: The type of its result.
        description: The first part of its docstring.
    """

    path: tuple[str, ...]
    python_path: tuple[str, ...]
    kind: Kind
    arguments: tuple[Field, ...]
    result: Type
    description: str


@dataclass(frozen=True)
class DocumentTable:
    """A table of the application.

    Attributes:
        name: Its name.
        document: Its documents.
        indexes: The fields of its indexes, by name. The last one is always the creation time.
    """

    name: str
    document: Record
    indexes: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Api:
    """What clients may call, and the types in it.

    Attributes:
        functions: The public functions, by path.
        tables: The tables, by name.
        records: The records that have names of their own, by name. Those of `tables` are among them.
    """

    functions: tuple[CallableFunction, ...]
    tables: tuple[DocumentTable, ...]
    records: tuple[Record, ...]
