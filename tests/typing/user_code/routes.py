# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Routes with typed requests."""

import datetime
from typing import Any, assert_type

from flask import Request
from msgspec import Struct

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    HttpRouter,
    Id,
    MutationCtx,
    OpenAPI,
    read_json,
    require_api_key,
    require_bearer,
    require_identity,
)
from user_code.documents import Item, Size, User
from user_code.functions import (
    create,
    get,
    list_names,
)

http = HttpRouter("http", __name__)


class NewItem(Struct):
    name: str
    price: float = 0.0


class Paging(Struct):
    limit: int = 10


@http.post("/items", status=201, content_types=["text/plain"], max_body_bytes=1000)
def create_item(ctx: ActionCtx, request: Request, body: NewItem) -> Id[Item]:
    assert_type(read_json(request, NewItem), NewItem)
    assert_type(read_json(request, NewItem, content_types=["text/plain"]), NewItem)
    assert_type(read_json(request), Any)
    read_json(request, content_type="text/plain")  # mypy: "content_type" # pyright: No overloads for "read_json"
    body.nmae  # E: "nmae"
    ctx.run_mutation(create, name=body.price)  # mypy: No overload variant of "run_mutation" # pyright: "name"
    return ctx.run_mutation(create, name=body.name, price=body.price)


@http.get("/items")
@require_api_key(scopes=["read"])
def list_items(ctx: ActionCtx, query: Paging) -> list[str]:
    return ctx.run_query(list_names, limit=query.limit)


@http.post("/orders", idempotent=True)
@require_api_key(scopes=["write"])
def place_order(ctx: MutationCtx, body: NewItem) -> Id[Item]:
    assert_type(ctx.identity.subject, str)
    return ctx.db.insert(Item(name=body.name, price=body.price))


@http.post("/imports", idempotent="optional")
@require_identity(scopes=["write"], invalid_status=401)
def import_item(ctx: MutationCtx, request: Request) -> Id[Item]:
    return ctx.db.insert(Item(name=request.mimetype))


@http.get("/names")
@require_bearer(invalid_status=401)
def guarded_without_ctx(query: Paging) -> list[str]:
    return [str(query.limit)]


@http.get("/ping")
@require_identity
def guarded_without_anything() -> str:
    return "pong"


@http.get("/items/<item_id>")
@require_bearer
def show_item(ctx: ActionCtx, item_id: Id[Item]) -> Item | None:
    return ctx.run_query(get, id=item_id)


@http.get("/users/<user_id>")
def show_user(ctx: ActionCtx, user_id: Id[User]) -> Item | None:
    return ctx.run_query(get, id=user_id)  # mypy: No overload variant # pyright: Id[Item]


@http.get("/wrong")
def wrong_item(query: Paging) -> list[str]:
    return query.limit  # mypy: Incompatible return value type # pyright: is not assignable to return type "list[str]"


@http.post("/orders", status=201, idempotent=True, keep=datetime.timedelta(hours=1))
def create_order(ctx: MutationCtx, body: NewItem) -> Id[Item]:
    return ctx.db.insert(Item(name=body.name))


@http.route("/orders", methods=["PUT"], idempotent="optional")
@require_api_key
def replace_order(ctx: MutationCtx, request: Request) -> Id[Item]:
    return ctx.db.insert(Item(name="Lamp"))


@http.post("/orders", idempotent=True)  # mypy: Value of type variable "M" # pyright: "ActionCtx"
def acts_on_order(ctx: ActionCtx, body: NewItem) -> None: ...


@http.route("/orders", method="POST", idempotent=True)  # mypy: Value of type variable "M" # pyright: "ActionCtx"
def acts_on_route(ctx: ActionCtx, body: NewItem) -> None: ...


@http.post("/orders", idempotent=True)  # mypy: Value of type variable "M" # pyright: too few positional parameters
def forgets_ctx() -> None: ...


http.post("/x", idempotent="always")  # mypy: No overload variant of "post" # pyright: "idempotent"
http.post("/x", idempotent=True, keep=3600)  # mypy: No overload variant of "post" # pyright: "keep"
http.post("/x", keep=datetime.timedelta(days=1))  # mypy: No overload variant of "post" # pyright: No overloads for "post"
http.route("/x", method="POST", idempotent="always")  # mypy: No overload variant of "route" # pyright: "idempotent"
http.get("/x", idempotent=True)  # E: "idempotent"
http.post("/x", status="201")  # mypy: No overload variant of "post" # pyright: "status"
ConvexHTTP(openapi=True)
ConvexHTTP(openapi=OpenAPI(title="Shop", version="1", docs=None))
ConvexHTTP(openapi="/openapi.json")  # E: "openapi"
ConvexHTTP(openapi=OpenAPI)  # E: "openapi"
OpenAPI(title="Shop", versions="1")  # E: "versions"
OpenAPI("Shop")  # mypy: Too many positional arguments # pyright: positional
http.post("/x", openapi_body={"application/json": NewItem, "text/csv": bytes})
http.post("/x", openapi_body=NewItem)  # mypy: No overload variant of "post" # pyright: "openapi_body"
http.get("/x", statsu=201)  # E: "statsu"
http.post("/x", content_types=7)  # mypy: No overload variant of "post" # pyright: "content_types"
http.put("/x", max_body_bytes="1 MB")  # mypy: No overload variant of "put" # pyright: "max_body_bytes"
assert_type(wrong_item(Paging()), list[str])
wrong_item(Size(1))  # mypy: incompatible type "Size" # pyright: "Size" is not assignable to "Paging"
