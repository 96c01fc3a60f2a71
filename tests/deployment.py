"""One deployment for tests that look at documents: a database without an app around it."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.database import DatabaseReader, DatabaseWriter
from flask_convex_http.sqlite_connections import sqlite3

T = TypeVar("T")

MEMORY = Settings(database_url="sqlite:///:memory:", storage_url="sqlite:///:memory:")


class Deployment:
    """A backend with these tables, in a folder or for the moment only."""

    def __init__(self, *documents: type[Document], folder: Path | None = None) -> None:
        self.backend = Backend(MEMORY if folder is None else Settings(), Schema(*documents), folder=folder or Path())

    def write(self, body: Callable[[DatabaseWriter], T]) -> T:
        """Run a body with ctx.db in one transaction."""
        return self.backend.runtime.transact(lambda ctx: body(ctx.db), self.backend.caller())

    def read(self, body: Callable[[DatabaseReader], T]) -> T:
        """Run a body with the ctx.db of a query."""
        with self.backend.engine.read() as snapshot:
            return body(DatabaseReader(snapshot, self.backend.schema))

    def get(self, document_id: Any) -> Any:
        """The document of an id."""
        return self.read(lambda db: db.get(document_id))

    def add(self, *documents: Document) -> list[Any]:
        """Insert documents in one transaction and answer their ids."""
        return self.write(lambda db: [db.insert(document) for document in documents])


@contextmanager
def deployed(*documents: type[Document], folder: Path | None = None) -> Iterator[Deployment]:
    """A migrated deployment, closed at the end."""
    deployment = Deployment(*documents, folder=folder)
    with closing(deployment.backend):
        deployment.backend.migrate()
        yield deployment


def rows(folder: Path, sql: str, *values: Any) -> list[Any]:
    """What another program sees in the database file, or does to it."""
    with closing(sqlite3.connect(folder / "convex.db", isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()
