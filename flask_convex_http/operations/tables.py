"""Look into tables: row counts, and rows without their secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, UndescribedTable
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import Segment

#: Columns of system tables that hold secrets, or hashes of secrets.
_SECRET_COLUMNS = frozenset({"hash", "value"})
#: The number of rows at which `TableReader.count` stops, so that it takes as long for a large table as for a small one.
MOST_COUNTED = 10_000


class TableCount(NamedTuple):
    """A table and its number of rows.

    Attributes:
        name: The table's name.
        rows: The number of rows.
        is_system: Whether it is a table of the package, not of the application.
        is_described: Whether a class describes it. If not, an earlier schema had it.
    """

    name: str
    rows: int
    is_system: bool
    is_described: bool = True


class TableRows(NamedTuple):
    """Rows of one table.

    Attributes:
        columns: The names of the columns, without those that hold secrets.
        rows: The rows as JSON values by column, with `_id` and `_creationTime`.
    """

    columns: list[str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TableReader:
    """Reads the tables of a deployment.

    Attributes:
        engine: The database.
        schema: Its tables.
    """

    engine: Engine
    schema: Schema

    def counts(self) -> list[TableCount]:
        """Return all tables with their row counts: the application's, those with rows and no class, the package's."""
        tables = sorted(self.schema.tables.values(), key=lambda table: (table.system, table.name))
        with self.engine.snapshot() as snapshot:
            counts = [TableCount(table.name, snapshot.count(table), table.system) for table in tables]
        others = [TableCount(table.name, table.rows, False, False) for table in self.undescribed()]
        own = sum(not count.is_system for count in counts)
        return [*counts[:own], *others, *counts[own:]]

    def count(self, name: str) -> int:
        """Return the number of rows of a table, or `MOST_COUNTED` + 1 if there are more than that."""
        table = self.schema.tables[name]
        return self.engine.count(table, Segment(order=table.indexes["by_creation_time"].columns), MOST_COUNTED + 1)

    def undescribed(self) -> list[UndescribedTable]:
        """Return the tables that earlier schemas had and that have rows, but no class now."""
        return self.engine.undescribed_tables()

    def read(self, name: str, *, order: Literal["asc", "desc"], limit: int) -> TableRows | None:
        """Return rows of a table, or None if there is no such table.

        Args:
            name: The table's name.
            order: "asc" for the oldest rows, "desc" for the newest.
            limit: The largest number of rows.
        """
        table = self.schema.tables.get(name)
        if table is None:
            return None
        with self.engine.snapshot() as snapshot:
            documents = Query(snapshot, table, table.indexes["by_creation_time"]).order(order).take(limit)
        hidden = _SECRET_COLUMNS if table.system else frozenset[str]()
        rows = [msgspec.to_builtins(document) for document in documents]
        visible = [{name: value for name, value in row.items() if name not in hidden} for row in rows]
        return TableRows([column for column in table.columns if column not in hidden], visible)
