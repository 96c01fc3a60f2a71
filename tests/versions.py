"""Versions of one document class, and migrations between them."""

import types
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http import Document
from tests.deployment import Deployment, deployed

UNSET = object()


def thing(indexes: Any = None, *, table: str = "things", renamed_from: Any = None, **fields: Any) -> Any:
    """Return a version of the class Thing; a field is its annotation, or (annotation, default)."""
    body: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    for name, field in fields.items():
        annotation, default = field if isinstance(field, tuple) else (field, UNSET)
        body["__annotations__"][name] = annotation
        if default is not UNSET:
            body[name] = default
    options = {"table": table, "indexes": indexes, "renamed_from": renamed_from}
    return types.new_class("Thing", (Document,), options, lambda own: own.update(body))


def create_with(folder: Path, kind: Any, *documents: Any) -> list[Any]:
    """Create a database with this version of the class, insert documents and return their ids."""
    with deployed(kind, folder=folder) as app:
        return app.add(*documents)


def migrate(folder: Path, *kinds: Any, **options: Any) -> list[str]:
    """Migrate the database to other classes and return the steps."""
    with closing(Deployment(*kinds, folder=folder).backend) as backend:
        return [str(step) for step in backend.migrate(**options)]


def all_documents(folder: Path, kind: Any) -> list[Any]:
    """Return all documents as instances of this version of the class."""
    with closing((app := Deployment(kind, folder=folder)).backend):
        return app.read(lambda db: db.query(kind).collect())
