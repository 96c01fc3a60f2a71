"""Copies of migrated SQLite databases, because a migration takes longer than most tests.

A migration of a new temporary database has the same steps and the same result each time. So the first two of a schema
run, and later ones copy the file of the second one. Databases at a path of their own are always migrated.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flask_convex_http import Document
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.schema.migrations import Migration, MigrationStep

Plan = Callable[[Migration], Sequence[MigrationStep]]


class Template(NamedTuple):
    """A migrated database without rows of the application, and the steps of its migration."""

    content: bytes
    steps: list[MigrationStep]


#: By the tables; None after the first migration, since many schemas are used only once.
_templates: dict[frozenset[type[Document]], Template | None] = {}
_migrate = SQLiteEngine.migrate


def copy_migrated() -> None:
    """Let temporary databases of this process copy the result of earlier migrations."""
    SQLiteEngine.migrate = _migrate_or_copy  # type: ignore[method-assign, assignment]


def _migrate_or_copy(engine: SQLiteEngine, plan: Plan, *, dry_run: bool) -> list[MigrationStep]:
    if engine._remove_folder is None or dry_run or engine.path.exists():
        return _migrate(engine, plan, dry_run=dry_run)
    tables = frozenset(table.document for table in engine.schema.tables.values())
    if template := _templates.get(tables):
        engine._create_file()
        engine.path.write_bytes(template.content)
        return list(template.steps)
    steps = _migrate(engine, plan, dry_run=False)
    _templates[tables] = _template_of(engine, steps) if tables in _templates else None
    return steps


def _template_of(engine: SQLiteEngine, steps: list[MigrationStep]) -> Template:
    with engine._file.lend() as connection:
        return Template(connection.serialize(), list(steps))
