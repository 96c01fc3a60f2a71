"""A database without an app, for tests that read and write documents."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from tests.databases import settings_in, temporary_config

T = TypeVar("T")

MEMORY = Settings(database_url="sqlite:///:memory:", storage_url="sqlite:///:memory:")


class _Undo(Exception):
    """Ends a transaction without a commit."""


class Deployment:
    """A backend with these tables.

    Args:
        documents: The tables.
        folder: The folder of the database.
        settings: The settings, by default those of the folder.
    """

    def __init__(self, *documents: type[Document], folder: Path, settings: Settings | None = None) -> None:
        self.backend = Backend(settings or settings_in(folder), Schema(*documents), folder=folder)

    def write(self, body: Callable[[DatabaseWriter], T]) -> T:
        """Run a function of ctx.db in one transaction."""
        return self.backend.runtime.transact(lambda ctx: body(ctx.db), self.backend.caller())

    def undone(self, body: Callable[[DatabaseWriter], None]) -> None:
        """Run a function of ctx.db in a transaction that is rolled back."""

        def work(db: DatabaseWriter) -> None:
            body(db)
            raise _Undo

        with suppress(_Undo):
            self.write(work)

    def read(self, body: Callable[[DatabaseReader], T]) -> T:
        """Run a function of a query's ctx.db."""
        with self.backend.engine.snapshot() as snapshot:
            return body(DatabaseReader(snapshot, self.backend.schema, (self.backend.runtime.cursors, "")))

    def get(self, document_id: Any) -> Any:
        """Return the document with this id, or None."""
        return self.read(lambda db: db.get(document_id))

    def add(self, *documents: Document) -> list[Any]:
        """Insert documents in one transaction and return their ids."""
        return self.write(lambda db: [db.insert(document) for document in documents])


@contextmanager
def deployed(*documents: type[Document], folder: Path | None = None) -> Iterator[Deployment]:
    """Yield a migrated deployment in a folder, or on a temporary database, and close it at the end."""
    with ExitStack() as stack:
        config = None if folder else stack.enter_context(temporary_config(Schema(*documents)))
        settings = None if config is None else Settings.from_mapping(config)
        deployment = Deployment(*documents, folder=folder or Path(), settings=settings)
        stack.enter_context(closing(deployment.backend))
        deployment.backend.migrate()
        yield deployment
