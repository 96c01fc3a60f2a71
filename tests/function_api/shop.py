"""An app whose functions clients call: items with values of every type, and functions that fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    OverloadedError,
    Page,
    PaginationOptions,
    QueryCtx,
    Schema,
    action,
    internal_query,
    mutation,
    query,
)
from tests.web.apps import backend_of, deployed


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    name: str
    unit_price: float = 1.0
    in_stock: int = 0
    photo: bytes | None = None


class Line(TypedDict):
    item_name: str
    line_total: float


SCHEMA = Schema(Item)


@mutation
def create_item(
    ctx: MutationCtx, *, name: str, unit_price: float = 1.0, in_stock: int = 0, photo: bytes | None = None
) -> Id[Item]:
    """Insert an item, and fail for some names after that."""
    created = ctx.db.insert(Item(name=name, unit_price=unit_price, in_stock=in_stock, photo=photo))
    if name == "refused":
        raise ConvexError({"code": "REFUSED", "itemName": name})
    if name == "broken":
        raise ValueError("a secret detail")
    if name == "busy":
        raise OverloadedError("the writer is busy")
    return created


@query
def list_items(ctx: QueryCtx, *, max_items: int = 10) -> list[Item]:
    """Return some items."""
    return ctx.db.query(Item).with_index("by_name").take(max_items)


@query
def list_pages(ctx: QueryCtx, *, num_items: int, cursor: str | None = None) -> Page[Item]:
    """Return a page of items."""
    return ctx.db.query(Item).with_index("by_name").paginate(num_items=num_items, cursor=cursor)


@query
def list_paged(ctx: QueryCtx, *, pagination_opts: PaginationOptions) -> Page[Item]:
    """Return the page of items that a client asks for."""
    return ctx.db.query(Item).with_index("by_name").paginate(pagination_opts)


@query
def list_lines(ctx: QueryCtx) -> list[Line]:
    """Return values of a TypedDict."""
    return [{"item_name": item.name, "line_total": item.unit_price} for item in ctx.db.query(Item).collect()]


@query
def echo(ctx: QueryCtx, *, value: Any) -> Any:
    """Return the argument."""
    return value


@query
def get_item(ctx: QueryCtx, *, item_id: str) -> Item | None:
    """Return the item with an id, which may be any text."""
    return ctx.db.get(item_id)  # type: ignore[arg-type]


@query
def dollars(ctx: QueryCtx) -> dict[str, int]:
    """Return a value that clients cannot receive."""
    return {"$price": 1}


@query
def who_am_i(ctx: QueryCtx) -> str | None:
    """Return the token identifier of the caller."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.token_identifier


@internal_query
def count_items(ctx: QueryCtx) -> int:
    """Return the number of items; only administrators and functions may call it."""
    return len(ctx.db.query(Item).collect())


@action
def import_items(ctx: ActionCtx, *, names: list[str]) -> int:
    """Insert items, each in a transaction of its own."""
    for name in names:
        ctx.run_mutation(create_item, name=name)
    return ctx.run_query(count_items)


@mutation
def limited(ctx: MutationCtx) -> None:
    """Take the only token of a rate limit."""
    ctx.rate_limit("shop", rate=1, period=timedelta(minutes=1))


FUNCTIONS: list[Any] = [
    create_item,
    list_items,
    list_pages,
    list_paged,
    list_lines,
    echo,
    get_item,
    dollars,
    who_am_i,
    count_items,
    import_items,
    limited,
]


@contextmanager
def shop(folder: Path, *routers: HttpRouter, function_api: Any = True, **options: Any) -> Iterator[Flask]:
    """Yield the app, migrated."""
    options = {"functions": FUNCTIONS} | options
    with deployed(folder, *routers, schema=SCHEMA, function_api=function_api, **options) as app:
        yield app


def call(app: Flask, kind: str, path: str, args: Any = None, *, form: str | None = None, **headers: str) -> Any:
    """Call a function as a client does, by default one of the shop, and return the parsed response with status 200."""
    path = path if ":" in path else f"shop:{path}"
    response = post(app, f"/api/{kind}", {"path": path, "args": args or {}, "format": form}, **headers)
    assert response.status_code == 200, response.text
    return response.get_json()


def post(app: Flask, url: str, body: Any, **headers: str) -> TestResponse:
    """Send a JSON body. An underscore in the name of a header stands for a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client().post(url, json=body, headers=named)


def admin_key(app: Flask) -> str:
    """Return a new admin key."""
    return backend_of(app).admin_keys.create()[0]
