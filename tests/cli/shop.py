"""The app of these tests: two tables, and functions that succeed, raise errors and crash."""

import datetime
from pathlib import Path

from flask import Flask

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Document,
    HmacSignature,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    action,
    internal_mutation,
    query,
)
from flask_convex_http.web.cors import Cors
from tests.databases import folder_config


class Lamp(Document, table="lamps", indexes={"by_name": ["name"]}):
    name: str
    seen: datetime.datetime | None = None
    tags: list[str]


class Shade(Document, table="shades"):
    lamp: Id[Lamp]


@internal_mutation
def add(ctx: MutationCtx, *, name: str, tags: list[str] | None = None) -> Id[Lamp]:
    """Store a lamp."""
    return ctx.db.insert(Lamp(name=name, tags=tags or []))


@query
def lamps(ctx: QueryCtx, *, limit: int = 10) -> list[Lamp]:
    print("looking")
    return ctx.db.query(Lamp).take(limit)


@action
def refuse(ctx: ActionCtx) -> None:
    raise ConvexError({"message": "No lamps today"})


@action
def crash(ctx: ActionCtx) -> None:
    raise ZeroDivisionError("a mistake")


@action
def store(ctx: ActionCtx, *, text: str) -> str:
    return ctx.storage.store(text.encode(), content_type="text/plain")


router = HttpRouter("shop", __name__, url_prefix="/shop", cors=None)


@router.get("/")
def index(ctx: ActionCtx, request: object) -> str:
    return "index"


@router.post("/lamps/", cors=Cors(["https://a.example", "https://b.example"]))
def make(ctx: ActionCtx, request: object) -> str:
    return "made"


@router.get(path_prefix="/files/")
def below(ctx: ActionCtx, request: object, suffix: str) -> str:
    return suffix


@router.webhook("/hook", HmacSignature(secret="a secret of the shop, long enough", header="X-Signature"))
def hook(ctx: MutationCtx, event: WebhookEvent) -> None:
    pass


def make_app(folder: str, **config: object) -> Flask:
    """Return the app with its databases in a folder."""
    app = Flask("shop", instance_path=folder)
    app.config.from_mapping(folder_config(Path(folder)) | config)
    ConvexHTTP(app, schema=Schema(Lamp, Shade), functions=(add, lamps, refuse, crash, store))
    app.register_blueprint(router)
    return app
