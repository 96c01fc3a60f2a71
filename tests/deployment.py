"""One deployment for tests that look at documents: a database without an app around it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from flask_convex_http import Document, Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from tests.databases import settings_in, temporary_config

T = TypeVar("T")

MEMORY = Settings(database_url="sqlite:///:memory:", storage_url="sqlite:///:memory:")


class Deployment:
    """A backend with these tables.

    Args:
        documents: The tables.
        folder: Where it is.
        settings: Its settings, if they are not those of the folder.
    """

    def __init__(self, *documents: type[Document], folder: Path, settings: Settings | None = None) -> None:
        self.backend = Backend(settings or settings_in(folder), Schema(*documents), folder=folder)

    def write(self, body: Callable[[DatabaseWriter], T]) -> T:
        """Run a body with ctx.db in one transaction."""
        return self.backend.runtime.transact(lambda ctx: body(ctx.db), self.backend.caller())

    def read(self, body: Callable[[DatabaseReader], T]) -> T:
        """Run a body with the ctx.db of a query."""
        with self.backend.engine.snapshot() as snapshot:
            return body(DatabaseReader(snapshot, self.backend.schema))

    def get(self, document_id: Any) -> Any:
        """The document of an id."""
        return self.read(lambda db: db.get(document_id))

    def add(self, *documents: Document) -> list[Any]:
        """Insert documents in one transaction and answer their ids."""
        return self.write(lambda db: [db.insert(document) for document in documents])


@contextmanager
def deployed(*documents: type[Document], folder: Path | None = None) -> Iterator[Deployment]:
    """A migrated deployment in a folder, or for the moment only; closed at the end."""
    with ExitStack() as stack:
        config = None if folder else stack.enter_context(temporary_config(Schema(*documents)))
        settings = None if config is None else Settings.from_mapping(config)
        deployment = Deployment(*documents, folder=folder or Path(), settings=settings)
        stack.enter_context(closing(deployment.backend))
        deployment.backend.migrate()
        yield deployment
