"""Tables: columns and indexes from a document class, and conversion between documents and rows."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from flask_convex_http.errors import (
    DocumentValidationError,
    EngineError,
    RegistrationError,
    UniqueConstraintError,
    UnstorableValueError,
)
from flask_convex_http.schema.columns import ColumnType, column_type
from flask_convex_http.schema.indexes import ID_COLUMN as ID_COLUMN
from flask_convex_http.schema.indexes import TIME_COLUMN as TIME_COLUMN
from flask_convex_http.schema.indexes import TIME_INDEX as TIME_INDEX
from flask_convex_http.schema.indexes import Index as Index
from flask_convex_http.schema.indexes import Unique as Unique
from flask_convex_http.schema.renames import has_old_names_inside, old_names_of_field, without_old_names
from flask_convex_http.schema.row_functions import constructor, size_function
from flask_convex_http.validation.records import NotStorableError
from flask_convex_http.validation.validator import InvalidValueError, Validator

if TYPE_CHECKING:
    from flask_convex_http.schema.documents import Document

D = TypeVar("D", bound="Document")

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
#: Fields of every document, which a class must not declare again.
_RESERVED_FIELDS = {"id": str | UnsetType, "creation_time": float | UnsetType}
_RESERVED_INDEXES = {"by_id", TIME_INDEX}
#: Tables of the package whose ids are made before their documents. The id of a file is that of its upload.
_EARLY_IDS = frozenset({"_storage"})
IDEMPOTENCY_KEYS = "_idempotency_keys"
#: Tables of the package whose ids are the keys of their rows, and the column that had the key in earlier releases.
_KEYED_IDS = {IDEMPOTENCY_KEYS: "digest"}


@dataclass(slots=True)
class Column:
    """A field of a document as a column.

    Attributes:
        name: The name of the field, in Python and in the database.
        type: The kind of stored value, with the conversions.
        nullable: Whether None is allowed.
        validator: Checks the values.
        field: msgspec's description of the field.
        old_names: The names that the field had in earlier releases.
    """

    name: str
    type: ColumnType
    nullable: bool
    validator: Validator
    field: msgspec.structs.FieldInfo
    old_names: tuple[str, ...] = ()

    @property
    def default(self) -> Any:
        """The default for existing rows when the column is added, or UNSET. A default factory is called."""
        if self.field.default is not msgspec.NODEFAULT:
            return self.field.default
        return self.field.default_factory() if callable(self.field.default_factory) else UNSET


class Table(Generic[D]):
    """A table: its columns and indexes, and the conversion between its documents and rows.

    Args:
        document: The class of its documents.
        name: Its name, of letters, digits and underscores.
        indexes: Field names by index name.
        old_names: The names that the table had in earlier releases.
        max_bytes: The largest size of a document, or None for the setting.
        history: Whether the commit log has the changes of its documents.

    Attributes:
        system: Whether it is one of the package's own tables.
        has_history: Whether the commit log has the changes of its documents. Those of the package's own are not logged.
        has_early_ids: Whether ids are made before their documents, so that they do not sort in the order of creation.
        former_key: The column of earlier releases whose values the ids have now, so that they do not sort in the order
            of creation. None if ids have the creation time.
        id_prefixes: The names that ids of its documents begin with: its name and its old names.
        fields: The names of the fields, without id and creation time.
        indexes: The indexes by name, "by_creation_time" included.
        nullable: The names of the columns that can hold None.
        size: Returns the bytes of a row, where a character of text counts as one.
        nested_columns: The place, the name and the levels of each column that is stored as JSON.

    Raises:
        RegistrationError: A name, a field or an index cannot work.
    """

    def __init__(
        self,
        document: type[D],
        name: str,
        indexes: Mapping[str, Sequence[str] | Unique],
        old_names: tuple[str, ...] = (),
        max_bytes: int | None = None,
        history: bool = True,
    ) -> None:
        self.document = document
        self.name = name
        self.old_names = old_names
        self.id_prefixes = (name, *old_names)
        self.max_bytes = max_bytes
        self.system = document.__module__.startswith(f"{__package__}.")
        self.fields = tuple(field for field in _struct_fields(document) if field not in _RESERVED_FIELDS)
        self.has_history = history and not self.system
        self.has_early_ids = self.system and name in _EARLY_IDS
        self.former_key = _KEYED_IDS.get(name) if self.system else None
        self._columns: dict[str, Column] | None = None
        if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 1):
            raise RegistrationError(
                f"{document.__name__}: max_bytes={max_bytes!r} must be a number of bytes, 1 or more"
            )
        if not isinstance(history, bool):
            raise RegistrationError(f"{document.__name__}: history={history!r} must be True or False")
        for each in self.id_prefixes:
            self._check_name(each)
        self._check_fields()
        self.indexes = {TIME_INDEX: Index(TIME_INDEX, ())}
        self._add_indexes(indexes)

    def __repr__(self) -> str:
        return f"<Table {self.name} of {self.document.__name__}>"

    def _check_name(self, name: str) -> None:
        where = self.document.__name__
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name.lstrip("_" if self.system else "")):
            raise RegistrationError(
                f"{where}: table name {name!r} must start with a letter and hold up to 64 ASCII letters, digits and _"
            )
        if name.lower().startswith("sqlite_"):
            raise RegistrationError(f"{where}: table name {name!r} is taken by SQLite; choose another")
        if self.id_prefixes.count(name) > 1:
            raise RegistrationError(f"{where}: the table {name!r} cannot be renamed_from itself")

    def _check_fields(self) -> None:
        where = self.document.__name__
        hidden = [name for cls in _own_classes(self.document) for name in vars(cls) if name in _RESERVED_FIELDS]
        if hidden:
            raise RegistrationError(_reserved_field(where, hidden[0]))
        seen: dict[str, str] = {}
        for field in self.fields:
            if not _IDENTIFIER.fullmatch(field):
                raise RegistrationError(
                    f"{where}.{field} must start with a letter and hold up to 64 ASCII letters, digits and _"
                )
            if seen.setdefault(field.lower(), field) != field:
                raise RegistrationError(
                    f"{where}.{field} and .{seen[field.lower()]} differ in case only, which SQL does not see; "
                    "rename one"
                )

    def _add_indexes(self, indexes: Mapping[str, Sequence[str] | Unique]) -> None:
        if not isinstance(indexes, Mapping):
            raise RegistrationError(
                f'{self.document.__name__}: indexes must be a mapping, as in indexes={{"by_name": ["name"]}}'
            )
        seen: dict[str, str] = {}
        for name, fields in indexes.items():
            index = self._index(name, fields)
            if seen.setdefault(name.lower(), name) != name:
                raise RegistrationError(
                    f"{self.document.__name__}: the indexes {seen[name.lower()]!r} and {name!r} differ in case only, "
                    "which SQL does not see; rename one"
                )
            self.indexes[name] = index

    def _index(self, name: str, declared: Sequence[str] | Unique) -> Index:
        where = f"{self.document.__name__}: index {name!r}"
        if isinstance(declared, str):
            raise RegistrationError(f"{where} must list its fields: write [{declared!r}]")
        if not isinstance(declared, (Sequence, Unique)):
            raise RegistrationError(f'{where} must list its fields, as in ["name"] or unique("name")')
        fields = tuple(declared.fields if isinstance(declared, Unique) else declared)
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name) or name.lower() in _RESERVED_INDEXES:
            raise RegistrationError(
                f"{where}: choose another name (ASCII letters, digits and _; by_id and by_creation_time exist)"
            )
        if not fields:
            raise RegistrationError(f"{where} needs at least one field")
        for field in fields:
            if field in (*_RESERVED_FIELDS, ID_COLUMN, TIME_COLUMN):
                raise RegistrationError(
                    f"{where}: leave out {field}; the creation time and the id are the last columns of every index"
                )
            if field not in self.fields:
                raise RegistrationError(f"{where} names {field!r}, which is no field of {self.document.__name__}")
        if len(set(fields)) < len(fields):
            raise RegistrationError(f"{where} names a field twice")
        return Index(name, fields, isinstance(declared, Unique))

    # --- columns -------------------------------------------------------------------------------------------------

    def try_resolve(self) -> None:
        """Read the annotations now, so that mistakes show at the class. An undefined name postpones it."""
        try:
            self.columns  # noqa: B018  # computed on first use
        except NameError:
            return

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by name, without id and creation time. Computed at first use.

        Raises:
            NameError: An annotation names a class that is not defined yet.
            RegistrationError: An annotation or an index cannot work.
        """
        if self._columns is None:
            self._columns = self._resolve()
            self._prepare()
        return self._columns

    def _resolve(self) -> dict[str, Column]:
        hints = self._hints()
        for name, hint in _RESERVED_FIELDS.items():
            if hints[name] != hint:
                raise RegistrationError(_reserved_field(self.document.__name__, name))
        defaults = {field.name: field for field in msgspec.structs.fields(self.document)}  # type: ignore[arg-type]
        columns = {name: self._column(name, hints[name], defaults[name]) for name in self.fields}
        self._check_old_names(columns)
        self._check_indexes(columns)
        return columns

    def _check_indexes(self, columns: Mapping[str, Column]) -> None:
        for index in self.indexes.values():
            field = next((field for field in index.fields if columns[field].type.kind == "json"), None)
            if field is not None:
                raise RegistrationError(
                    f"{self.document.__name__}: index {index.name!r} names {field!r}, which is stored as JSON and has "
                    "no order; index a str, int, float, bool, bytes, datetime, date, UUID, Decimal, Enum, Literal or "
                    "Id field"
                )

    def _check_old_names(self, columns: Mapping[str, Column]) -> None:
        taken = dict.fromkeys(columns, "is a field of the class")
        for name, old in ((name, old) for name, column in columns.items() for old in column.old_names):
            if not isinstance(old, str) or old in taken:
                why = taken.get(old, "is no name of a field")
                raise RegistrationError(f"{self.document.__name__}.{name} is renamed_from({old!r}), which {why}")
            taken[old] = f"is an old name of {name!r} already"

    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.document, include_extras=True)
        except NameError:
            raise  # the class may be defined further down in the module
        except Exception as error:
            raise RegistrationError(f"{self.document.__name__}: an annotation cannot be read: {error}") from error

    def _column(self, name: str, annotation: Any, field: msgspec.structs.FieldInfo) -> Column:
        where = f"{self.document.__name__}.{name}"
        old_names, annotation = old_names_of_field(annotation), without_old_names(annotation)
        validator = Validator(annotation, where)
        if has_old_names_inside(annotation):
            raise RegistrationError(
                f"{where}: renamed_from works on the fields of a document only, and the value of this field has one. "
                "Convert the values in a mutation, or keep the name in JSON with msgspec.field(name=...)"
            )
        indexed = any(name in index.fields for index in self.indexes.values())
        kind = column_type(annotation, validator, indexed=indexed)
        column = Column(name, kind, _accepts(validator, None), validator, field, old_names)
        if field.default is not msgspec.NODEFAULT and not _accepts(validator, field.default):
            raise RegistrationError(f"{where}: the default {field.default!r} does not match the annotation")
        return column

    def _prepare(self) -> None:
        columns = self._columns or {}
        names = ("id", "creation_time", *columns)
        self._make = constructor(self.document, names)
        self.nullable = frozenset(name for name, column in columns.items() if column.nullable)
        self._stores = [(name, column.type.store) for name, column in columns.items()]
        self.size = size_function([column.type.kind for column in columns.values()])
        self.nested_columns = [
            (place, column.name, column.validator.levels)
            for place, column in enumerate(columns.values(), start=2)
            if column.type.kind == "json"
        ]
        self._loaders = [
            (place, column.name, column.type.load)
            for place, column in enumerate(columns.values(), start=2)
            if column.type.load
        ]

    # --- documents and rows ----------------------------------------------------------------------------------------

    def row(self, document: D) -> list[Any]:
        """Return the validated and stored values of a document's columns.

        Raises:
            DocumentValidationError: A value does not match its field.
        """
        try:
            return [store(getattr(document, name)) for name, store in self._stores]
        except InvalidValueError:  # store() names the field
            return [self.store(name, getattr(document, name)) for name in self.columns]

    def store(self, name: str, value: Any) -> Any:
        """Return the validated and stored value of one field.

        Raises:
            DocumentValidationError: The value does not match the field, or the table has no such field.
        """
        column = self.columns.get(name)
        if column is None:
            raise DocumentValidationError(f"{self.name}: Unknown field `{name}` - at `$.{name}`")
        try:
            return column.type.store(value)
        except NotStorableError as error:
            inside = error.inside("." + name)
            raise UnstorableValueError(f"{self.name}: {inside}", str(inside)) from None
        except InvalidValueError as error:
            raise DocumentValidationError(f"{self.name}: {error.inside('.' + name)}") from None

    def read(self, row: Sequence[Any]) -> D:
        """Return the document of a row.

        Args:
            row: The id, the creation time and the columns in order.

        Raises:
            EngineError: A stored value does not match its field, because another program wrote it.
        """
        if not self._loaders:
            return self._make(row)
        values = list(row)
        name = ""
        try:
            for place, name, load in self._loaders:  # noqa: B007  # the except clause names it
                if values[place] is not None:
                    values[place] = load(values[place])
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:  # written by other means
            raise EngineError(
                f"{self.name}.{name} of {row[0]} holds something that does not match the schema: {error}"
            ) from None
        return self._make(values)


def _accepts(validator: Validator, value: Any) -> bool:
    try:
        validator.check(value)
    except InvalidValueError:
        return False
    return True


def _own_classes(document: type) -> list[type]:
    """Return a document class and its bases before Document, whose attributes could hide those of Document."""
    return list(itertools.takewhile(lambda cls: "__convex_document__" not in vars(cls), document.__mro__))


def _reserved_field(where: str, field: str) -> str:
    return f"{where}.{field} is a field of every document already; choose another name"


def _struct_fields(document: type) -> tuple[str, ...]:
    return typing.cast("tuple[str, ...]", getattr(document, "__struct_fields__", ()))


def unique_violation(table: Table[Any] | None, name: str, fields: Sequence[str]) -> UniqueConstraintError:
    """Return the error for a row with the same values as another one in a unique index.

    Args:
        table: The table, if the schema has it.
        name: The name of the table.
        fields: The fields with the same values.
    """
    indexes = table.indexes.values() if table else ()
    found = [index.name for index in indexes if index.unique and index.fields == tuple(fields)]
    in_index = f" (unique index {found[0]})" if found else ""
    return UniqueConstraintError(f"{name}: another document has the same {', '.join(fields)}{in_index}")
