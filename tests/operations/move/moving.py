"""Deployments to move between: a small shop with every kind of column, on any database and blob store."""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import Document, Id, Schema, unique
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.database.db import DatabaseWriter
from flask_convex_http.database.query import Query
from flask_convex_http.operations.move.move import Move, MoveReport, Side
from flask_convex_http.operations.progress import Progress
from flask_convex_http.schema.documents import Table
from tests.databases import PostgresServer
from tests.lengths import LONG


class Maker(Document, table="makers"):
    name: str


class Lamp(Document, table="lamps", indexes={"by_code": unique("code"), "by_name": ["name"]}):
    code: str | None = None
    name: str = "Lamp"
    watts: int = 0
    price: float | None = None
    lit: bool = False
    photo: bytes = b""
    made: datetime.datetime | None = None
    tags: list[str] = []
    maker: Id[Maker] | None = None


SCHEMA = Schema(Maker, Lamp)
#: The engines of source and target.
PAIRS = ("sqlite-sqlite", "sqlite-postgres", "postgres-sqlite")
#: For tests that take long. The other pairs have their turn in `make test-long`.
ONE_PAIR = pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=[] if pair == "sqlite-sqlite" else [LONG]) for pair in PAIRS], indirect=True
)
#: Values that engines store in different ways.
ODD = (
    Lamp(code="plain"),
    Lamp(code="", name="\0 zero \1\1 one \1\2", tags=["\0", "é", "🪔", '"']),
    Lamp(code="Ω", name="e\u0301", watts=2**63 - 1, price=0.1 + 0.2, lit=True, photo=bytes(range(256))),
    Lamp(name="without code", watts=-(2**63), price=float("inf")),
    Lamp(name="without code", price=5e-324, made=datetime.datetime(2024, 2, 29, 12, 0, 0, 1, datetime.UTC)),
)


def deployment_at(database_url: str, folder: Path, schema: Schema = SCHEMA) -> Backend:
    """Return a deployment with a database and a blob store in a folder. Neither is created yet."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        database_url=database_url, storage_url=f"sqlite:///{folder / 'files.db'}", write_timeout=30, durability="normal"
    )
    return Backend(settings, schema, folder=folder)


def deployment_like(backend: Backend) -> Backend:
    """Return the same deployment as another process sees it."""
    return Backend(backend.settings, SCHEMA, folder=Path())


class Places:
    """Creates deployments, each in a folder of its own, and closes them.

    Args:
        folder: The parent of these folders.
        server: Returns the PostgreSQL server; called when it is first needed.
    """

    def __init__(self, folder: Path, server: Callable[[], PostgresServer]) -> None:
        self._folder = folder
        self._server = server
        self._made: list[Backend] = []

    def new(self, kind: str = "sqlite", schema: Schema = SCHEMA) -> Backend:
        """Return a deployment without tables."""
        folder = self._folder / str(len(self._made))
        self._made.append(deployment_at(self._url(kind, folder), folder, schema))
        return self._made[-1]

    def ready(self, kind: str = "sqlite", schema: Schema = SCHEMA) -> Backend:
        """Return a deployment with its tables."""
        made = self.new(kind, schema)
        made.migrate()
        return made

    def again(self, backend: Backend, schema: Schema) -> Backend:
        """Return the same deployment with another schema."""
        self._made.append(Backend(backend.settings, schema, folder=self._folder))
        return self._made[-1]

    def store_at(self, storage_url: str) -> Backend:
        """Return a new deployment with its files elsewhere."""
        there = self.new()
        self._made.append(Backend(replace(there.settings, storage_url=storage_url), SCHEMA, folder=self._folder))
        return self._made[-1]

    def store_of(self, backend: Backend) -> str:
        """Return the path of the blob store."""
        return backend.settings.storage_url.removeprefix("sqlite:///")

    def close(self) -> None:
        """Close all deployments."""
        for backend in self._made:
            backend.close()

    def _url(self, kind: str, folder: Path) -> str:
        if kind == "sqlite":
            return f"sqlite:///{folder / 'app.db'}"
        return self._server().make()


def side(backend: Backend) -> Side:
    """Return a deployment as a side of a move."""
    return Side(backend.engine, backend.blobs, backend.settings.storage(Path()))


def move_of(here: Backend, there: Backend) -> Move:
    """Return the move of both rows and files from one deployment to another."""
    return Move(here.schema, side(here), side(there), here.clock)


def moved(here: Backend, there: Backend) -> MoveReport:
    """Move both rows and files from one deployment to another."""
    return move_of(here, there).run(silent)


@contextmanager
def silent(label: str) -> Iterator[Progress]:
    """Show no progress."""
    yield lambda done, total: None


def write(backend: Backend, *documents: Document) -> list[Any]:
    """Insert documents in one transaction and return their ids."""
    ids: list[Any] = change(backend, lambda db: [db.insert(document) for document in documents])
    return ids


def change(backend: Backend, body: Any) -> Any:
    """Run a body with ctx.db in one transaction."""

    def transact(ctx: Any) -> Any:
        db: DatabaseWriter = ctx.db
        return body(db)

    return backend.runtime.transact(transact, backend.caller())


def all_rows(backend: Backend) -> dict[str, list[Any]]:
    """Return the documents of all tables but the settings, by table."""
    tables = [table for name, table in backend.schema.tables.items() if name != "_settings"]
    return {table.name: documents(backend, table) for table in tables}


def lamps(backend: Backend) -> list[Lamp]:
    """Return all lamps, oldest first."""
    return documents(backend, backend.schema.table_for(Lamp))


def documents(backend: Backend, table: Table[Any]) -> list[Any]:
    """Return all documents of a table, oldest first."""
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


@pytest.fixture(name="places")
def places_fixture(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Places]:
    """Creates deployments; the PostgreSQL server starts for the first one that needs it."""
    made = Places(tmp_path, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()


@pytest.fixture(name="pair", params=PAIRS)
def pair_fixture(request: pytest.FixtureRequest, places: Places) -> tuple[Backend, Backend]:
    """A deployment with tables, and a target without."""
    one, _, other = request.param.partition("-")
    return places.ready(one), places.new(other)
