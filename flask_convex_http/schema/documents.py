"""Documents: a class for each table, and the `Schema` of all tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec
from msgspec import UNSET

from flask_convex_http.errors import ArgumentRangeError, ArgumentValidationError, RegistrationError
from flask_convex_http.ids import Id, table_of
from flask_convex_http.schema.indexes import ID_COLUMN as ID_COLUMN
from flask_convex_http.schema.indexes import TIME_COLUMN as TIME_COLUMN
from flask_convex_http.schema.indexes import TIME_INDEX as TIME_INDEX
from flask_convex_http.schema.indexes import Index as Index
from flask_convex_http.schema.indexes import Unique as Unique
from flask_convex_http.schema.indexes import unique as unique
from flask_convex_http.schema.renames import old_names_of_table
from flask_convex_http.schema.tables import Column as Column
from flask_convex_http.schema.tables import D as D
from flask_convex_http.schema.tables import Table as Table
from flask_convex_http.validation.records import shorten

if TYPE_CHECKING:
    from typing import Protocol, Self

    from typing_extensions import dataclass_transform


Replaced_contra = TypeVar("Replaced_contra", contravariant=True)

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
    class DocumentMeta(type):
        """The metaclass of `Document` as type checkers see it."""

    class Document(metaclass=DocumentMeta):
        """A row of a table, as an immutable value. Subclass it with `table=` and optionally `indexes=`.

        The old name of a table that was renamed is given as `renamed_from=`, and the largest size of a document as
        `max_bytes=`. `history=False` keeps the changes of its documents out of the commit log.
        """

        __convex_document__: ClassVar[bool]

        def __init_subclass__(
            cls,
            *,
            table: str | None = None,
            indexes: Mapping[str, Sequence[str] | Unique] | None = None,
            renamed_from: str | Sequence[str] | None = None,
            max_bytes: int | None = None,
            history: bool = True,
        ) -> None: ...

        @property
        def id(self) -> Id[Self]:
            """The id of a stored document."""

        def __convex_replaces__(self, document: Self, /) -> None:
            """Exist for type checkers only; see `ReplacementFor`."""

        @property
        def creation_time(self) -> float:
            """The insertion time of a stored document, in milliseconds since the epoch."""

    class ReplacementFor(Protocol[Replaced_contra]):
        """A document that can replace one of a class.

        The class is contravariant here and covariant in `Id`. So the only class that fits `Id[Item]` and a document is
        the class of that document, where a plain type variable would become what the two classes have in common.
        """

        @property
        def id(self) -> str:
            """The id of a stored document."""

        def __convex_replaces__(self, document: Replaced_contra, /) -> None: ...

else:

    class DocumentMeta(msgspec.StructMeta):
        """Builds the table of a document class from its class statement."""

        def __new__(
            mcls,
            name,
            bases,
            namespace,
            *,
            table=None,
            indexes=None,
            renamed_from=None,
            max_bytes=None,
            history=None,
            **options,
        ):
            """Return the class, with its table if the statement names one."""
            below_document = any(hasattr(base, "__convex_document__") for base in bases)
            if below_document and options:
                raise RegistrationError(
                    f"class {name}(Document, {next(iter(options))}=...): a document class takes table=, "
                    "indexes=, renamed_from=, max_bytes= and history= only"
                )
            try:  # msgspec inherits frozen=True, but not kw_only=True
                cls = super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **options})
            except (TypeError, ValueError, RuntimeError) as error:
                raise RegistrationError(_wrong_class(name, error)) from None
            cls.__convex_table__ = None
            if table is None:
                given = {"indexes": indexes, "renamed_from": renamed_from, "max_bytes": max_bytes, "history": history}
                for option in (option for option, value in given.items() if value is not None):
                    raise RegistrationError(
                        f"{name} has {option} but no table: write class {name}(Document, table=...)"
                    )
                return cls
            table_being_built = Table(
                cls,
                table,
                indexes or {},
                old_names_of_table(renamed_from),
                max_bytes,
                history is None or history,
            )
            cls.__convex_table__ = table_being_built
            table_being_built.try_resolve()
            return cls

    class Document(
        msgspec.Struct,
        metaclass=DocumentMeta,
        frozen=True,
        kw_only=True,
        rename={"id": "_id", "creation_time": "_creationTime"},
    ):
        """A row of a table, as an immutable value. Subclass it with `table=` and optionally `indexes=`.

        The old name of a table that was renamed is given as `renamed_from=`, and the largest size of a document as
        `max_bytes=`. `history=False` keeps the changes of its documents out of the commit log.

        Attributes:
            id: The id of a stored document, UNSET before.
            creation_time: The time it was inserted, in milliseconds since the epoch, UNSET before.
        """

        __convex_document__: ClassVar[bool] = True
        id: str | msgspec.UnsetType = UNSET
        creation_time: float | msgspec.UnsetType = UNSET


def _wrong_class(name: str, error: Exception) -> str:
    if "rename to the same name" not in str(error):
        return f"class {name}(Document): {error}"
    return (
        f"{name} has a field _id or _creationTime, which the database gives to every document, as .id and "
        ".creation_time; choose another name"
    )


#: The package's own classes that applications refer to. Their tables join the schema when the application is set up.
_SYSTEM_NAMES = frozenset({"StoredFile", "ScheduledFunction", "WebhookDelivery"})


class Schema:
    """The tables of an application.

    Args:
        documents: The document classes, one for each table.

    Attributes:
        tables: The tables by name.

    Raises:
        RegistrationError: Two tables have one name, or a reference points to a class that is not in the schema.
    """

    def __init__(self, *documents: type[Document]) -> None:
        self.tables: dict[str, Table[Any]] = {}
        self._by_class: dict[type, Table[Any]] = {}
        #: The tables by every name that their ids begin with.
        self._by_prefix: dict[str, Table[Any]] = {}
        for document in documents:
            self._add(document)
        self.bind()

    def extended(self, documents: Iterable[type[Document]]) -> Schema:
        """Return a schema of these tables and more.

        Args:
            documents: The classes of the further tables.
        """
        return Schema(*self._by_class, *documents)

    def table_for(self, document: type[D]) -> Table[D]:
        """Return the table of a document class.

        Raises:
            RegistrationError: The class is not in the schema.
        """
        table = self._by_class.get(document) if isinstance(document, type) else None
        if table is None:
            raise RegistrationError(self._not_a_class(document))
        return table

    def _not_a_class(self, value: Any) -> str:
        """Return the message for a value that is not the class of a table."""
        named = self.tables.get(value) if isinstance(value, str) else self._by_class.get(type(value))
        if named is not None:
            return f"{shorten(repr(value))} was given instead of a class; write {named.document.__name__}"
        if not isinstance(value, type):
            return f"{shorten(repr(value))} was given instead of the class of a table"
        if not issubclass(value, Document):
            return f"a {value.__name__} was given instead of a document, such as Item(...)"
        return f"{value.__name__} is not in the schema: add it to Schema(...)"

    def likely_table_of(self, document_id: Any) -> Table[Any] | None:
        """Return the table that a value names in its beginning, without a check that the value is an id."""
        return self._by_prefix.get(document_id[:-33]) if isinstance(document_id, str) else None

    def table_of(self, document_id: str) -> Table[Any]:
        """Return the table of an id.

        Raises:
            ArgumentValidationError: The value is not text.
            ArgumentRangeError: The value is not an id of a table of this schema.
        """
        name = table_of(document_id)
        table = self._by_prefix.get(name) if name else None
        if table is None:
            expected = "Expected the id of a document of this database"
            if not isinstance(document_id, str):
                raise ArgumentValidationError(f"{expected}, not a value of type {type(document_id).__name__}")
            raise ArgumentRangeError(f"{expected} - at `$.id`", "Expected a valid id")
        return table

    @property
    def id_prefixes(self) -> dict[str, tuple[str, ...]]:
        """The names that the ids of a table begin with, by the name of its class if that is unambiguous.

        A class of the application hides one of the package with the same name. Two classes of the application with one
        name are referred to by class, as in Id[shop.Item], and have keys here that no annotation contains.
        """
        own = [table for table in self.tables.values() if not table.system]
        count = Counter(table.document.__name__ for table in own)
        names = {table.document.__name__: table.id_prefixes for table in self.tables.values() if table.system}
        for table in own:
            name = table.document.__name__
            names[name if count[name] == 1 else f"<{table.name}>"] = table.id_prefixes
        return {name: prefixes for name, prefixes in names.items() if count[name] < 2}

    def bind(self) -> None:
        """Resolve the references between tables.

        Raises:
            RegistrationError: A reference points to a class that is not in the schema.
        """
        columns = [(table, column) for table in self.tables.values() for column in _resolved(table).values()]
        for table, column in columns:
            unknown = [name for name in column.validator.bind(self.id_prefixes) if name not in _SYSTEM_NAMES]
            if unknown:
                raise RegistrationError(
                    f"{table.document.__name__}.{column.name} refers to Id[{unknown[0]}], which is not in the schema: "
                    f"add {unknown[0]} to Schema(...) (if two classes share that name, write the class itself instead "
                    "of its name)"
                )

    def _add(self, document: type[Document]) -> None:
        table: Table[Any] | None = getattr(document, "__convex_table__", None)
        if table is None:
            if not isinstance(document, type):
                raise RegistrationError(f"Schema(...) takes classes, such as Schema(Item, Order), not {document!r}")
            name = document.__name__
            raise RegistrationError(f"Schema({name}): write class {name}(Document, table=...) to give it a table")
        other = next((other for name, other in self.tables.items() if name.lower() == table.name.lower()), None)
        if other is not None:
            raise RegistrationError(_same_name(other, table))
        for prefix in table.id_prefixes:
            if self._by_prefix.setdefault(prefix, table) is not table:
                raise RegistrationError(_same_ids(prefix, self._by_prefix[prefix], table))
        self.tables[table.name] = table
        self._by_class[document] = table


def _same_name(one: Table[Any], other: Table[Any]) -> str:
    if one.system == other.system:
        return f"Two classes have the table {other.name!r}; give each its own name"
    own = other if one.system else one
    return (
        f"{own.document.__name__}: the table {own.name!r} is one of the package's own. Give the class another name for "
        f'its table, such as class {own.document.__name__}(Document, table="app_{own.name}"); the class keeps its name'
    )


def _same_ids(prefix: str, one: Table[Any], other: Table[Any]) -> str:
    renamed, user = (one, other) if prefix in one.old_names else (other, one)
    return (
        f"{user.document.__name__}: ids that begin with {prefix!r} belong to {renamed.document.__name__}, which was "
        f"renamed_from={prefix!r}; give {user.document.__name__} another table and other old names"
    )


def _resolved(table: Table[Any]) -> dict[str, Column]:
    """Return the columns of a table, when every class is defined."""
    try:
        return table.columns
    except NameError as error:
        raise RegistrationError(
            f"{table.document.__name__}: an annotation names something that does not exist at the top level of "
            f"{table.document.__module__}: {error}"
        ) from None
