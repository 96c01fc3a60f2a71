"""Types and helpers for the tests of typed requests."""

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import ConvexHTTP, Document, HttpRouter, Schema
from tests.web.apps import send

FORM = "application/x-www-form-urlencoded"


class Lamp(Document, table="lamps"):
    """A document."""

    name: str


class Desk(Document, table="desks"):
    """A document of another table."""

    name: str


class NewLamp(msgspec.Struct, forbid_unknown_fields=True):
    """A body."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    size: int = 1


class Paging(msgspec.Struct):
    """A query string or a form."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    cursor: str | None = None
    is_open: bool = False
    tags: list[str] = []
    sizes: set[int] = set()
    price: float = 0.0
    since: datetime.datetime | None = None
    kind: Literal["a", "b"] = "a"


class Keys(TypedDict):
    """A record of keys."""

    name: str
    size: NotRequired[int]


def app_of(folder: Path, *routers: HttpRouter) -> Flask:
    """Return an app with these routers, whose handlers use no database."""
    app = Flask("test_app", instance_path=str(folder))
    app.config["CONVEX_WORKER"] = "off"
    ConvexHTTP(app, schema=Schema(Lamp, Desk))
    for router in routers:
        app.register_blueprint(router)
    return app


def post(app: Flask, path: str, body: bytes, content_type: str = "application/json", **environ: Any) -> TestResponse:
    """Send a POST that announces the length of its body."""
    return send(app, "POST", path, body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)), **environ)
