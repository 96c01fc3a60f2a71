"""Typed requests: `body`, `query`, `form` and the variables of a path, converted to their annotations."""

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    Page,
    QueryCtx,
    Schema,
    internal_mutation,
    internal_query,
)
from tests.web.apps import deployed, send

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
    """A query string."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    cursor: str | None = None
    is_open: bool = False
    tags: list[str] = []
    sizes: set[int] = set()
    price: float = 0.0
    since: datetime.datetime | None = None
    kind: Literal["a", "b"] = "a"


@internal_mutation
def create(ctx: MutationCtx, *, name: str) -> Id[Lamp]:
    return ctx.db.insert(Lamp(name=name))


@internal_query
def pages(ctx: QueryCtx, *, limit: int) -> Page[Lamp]:
    return ctx.db.query(Lamp).paginate(num_items=limit, cursor=None)


def answer(folder: Path, http: HttpRouter, *request: Any, **environ: Any) -> TestResponse:
    """Return the response of an app with these routes to one request."""
    with deployed(folder, http, schema=Schema(Lamp, Desk), functions=[create, pages]) as app:
        return send(app, *request, **environ)


def json_body(text: bytes, content_type: str = "application/json") -> dict[str, str]:
    """Return the WSGI variables of a body."""
    return {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(text))}


def post(app: Flask, path: str, body: bytes, content_type: str = "application/json") -> TestResponse:
    """Send a POST."""
    return send(app, "POST", path, body, **json_body(body, content_type))


def test_a_body_is_converted(tmp_path: Path) -> None:
    """A JSON body reaches the handler as its type, and the route's status is that of the response."""
    http = HttpRouter("http", __name__)

    @http.post("/lamps", status=201)
    def create_lamp(ctx: ActionCtx, request: Request, body: NewLamp) -> NewLamp:
        assert isinstance(body, NewLamp)
        return body

    text = b'{"name":"Desk lamp"}'
    response = answer(tmp_path, http, "POST", "/lamps", text, **json_body(text))
    assert (response.status_code, response.json) == (201, {"name": "Desk lamp", "size": 1})
