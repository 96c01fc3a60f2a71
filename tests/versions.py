"""Versions of a class, and bringing a database from one to another."""

import types
from contextlib import closing
from pathlib import Path
from typing import Any

from flask_convex_http import Document
from tests.deployment import Deployment, deployed

UNSET = object()


def thing(indexes: Any = None, *, table: str = "things", **fields: Any) -> Any:
    """A version of the class Thing; a field is its annotation, or (annotation, default)."""
    body: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    for name, field in fields.items():
        annotation, default = field if isinstance(field, tuple) else (field, UNSET)
        body["__annotations__"][name] = annotation
        if default is not UNSET:
            body[name] = default
    return types.new_class("Thing", (Document,), {"table": table, "indexes": indexes}, lambda own: own.update(body))


def start(folder: Path, kind: Any, *documents: Any) -> list[Any]:
    """A deployment with that version of the class and these documents in it."""
    with deployed(kind, folder=folder) as app:
        return app.add(*documents)


def migrate(folder: Path, *kinds: Any, **options: Any) -> list[str]:
    """Bring the database to another version; answers the steps."""
    with closing(Deployment(*kinds, folder=folder).backend) as backend:
        return [str(step) for step in backend.migrate(**options)]


def stored(folder: Path, kind: Any) -> list[Any]:
    """Every document as that version of the class."""
    with closing((app := Deployment(kind, folder=folder)).backend):
        return app.read(lambda db: db.query(kind).collect())
