# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Right and wrong code of users. A wrong line has the expected message of the type checkers after `E:`.

`mypy:` and `pyright:` precede messages that differ.
"""

import datetime
from typing import Annotated, Any, assert_type

from flask import Request
from flask.testing import FlaskClient
from msgspec import Struct

from flask_convex_http import (
    OIDC,
    ActionCtx,
    ConvexHTTP,
    CustomJWT,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    OpenAPI,
    Page,
    PaginationOptions,
    QueryCtx,
    Retry,
    ScheduledFunction,
    Schema,
    StoredFile,
    Stripe,
    UserIdentity,
    WebhookDelivery,
    WebhookEvent,
    action,
    between,
    gte,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
    read_json,
    renamed_from,
    require_api_key,
    require_bearer,
    require_identity,
    unique,
)
from flask_convex_http.testing import deliver


class User(Document, table="users", indexes={"by_clerk_id": unique("clerk_id")}):
    clerk_id: str
    email: str | None
    name: str


class Member(Document, table="members", renamed_from=["people", "staff"], max_bytes=2**20):
    name: Annotated[str, renamed_from("full_name", "label")]
    age: Annotated[int | None, renamed_from("years")] = None


Member(name="Ada")
Member(full_name="Ada")  # mypy: Unexpected keyword argument "full_name" # pyright: No parameter named "full_name"


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    name: str
    price: float = 0.0
    owner: Id[User] | None = None
    editor: "Id[User | Team] | None" = None
    photo: Id[StoredFile] | None = None
    tags: list[str] = []
    added_at: datetime.datetime | None = None


class Team(Document, table="teams"):
    name: str


class Size(Struct):
    width: int


schema = Schema(User, Item, Team)
Schema("items")  # mypy: incompatible type "str" # pyright: cannot be assigned to parameter "documents" of type "type[Document]"


# --- documents -------------------------------------------------------------------------------------------------------

item = Item(name="Lamp", price=3)
assert_type(item.id, Id[Item])
assert_type(item.creation_time, float)
assert_type(item.price, float)
Item()  # mypy: Missing named argument "name" # pyright: Argument missing for parameter "name"
Item("Lamp")  # mypy: Too many positional arguments # pyright: Expected 0 positional arguments
Item(name="Lamp", prise=3.0)  # mypy: Unexpected keyword argument "prise" # pyright: No parameter named "prise"
Item(name=3)  # mypy: incompatible type "int" # pyright: "Literal[3]" is not assignable to "str"
Item(name="Lamp", owner="users_1")  # mypy: expected "Id[User] | None" # pyright: not assignable to "Id[User]"
Item(name="Lamp", id=item.id)  # mypy: Unexpected keyword argument "id" # pyright: No parameter named "id"
User(clerk_id="user_1", name="Ada")  # mypy: Missing named argument "email" # pyright: missing for parameter "email"
item.name = "Desk"  # mypy: Property "name" defined in "Item" is read-only # pyright: Attribute "name" is read-only
item.id = item.id  # mypy: is read-only # pyright: Cannot assign to attribute "id"
item.nmae  # mypy: "Item" has no attribute "nmae" # pyright: Cannot access attribute "nmae"
item.owner.upper()  # mypy: has no attribute "upper" # pyright: "upper" is not a known attribute of "None"


# --- functions -------------------------------------------------------------------------------------------------------


@internal_mutation
def create(ctx: MutationCtx, *, name: str, price: float = 0.0) -> Id[Item]:
    item_id = ctx.db.insert(Item(name=name, price=price))
    assert_type(item_id, Id[Item])
    return item_id


@query
def get(ctx: QueryCtx, *, id: Id[Item]) -> Item | None:
    return ctx.db.get(id)


@query
def list_names(ctx: QueryCtx, *, limit: int = 10) -> list[str]:
    return [item.name for item in ctx.db.query(Item).take(limit)]


@query
def area(ctx: QueryCtx, size: Size, factor: int = 1) -> int:
    return size.width * factor


@internal_query
def whoami(ctx: QueryCtx) -> UserIdentity | None:
    return ctx.auth.get_user_identity()


@mutation
def rename(ctx: MutationCtx, *, id: Id[Item], name: str) -> None:
    ctx.db.patch(id, name=name)


@action
def fetch(ctx: ActionCtx, *, url: str) -> int:
    return len(url)


@internal_action
def fetch_all(ctx: ActionCtx, *, urls: list[str]) -> list[int]:
    return [ctx.run_action(fetch, url=url) for url in urls]


@action(retry=Retry(max_attempts=3, backoff=datetime.timedelta(seconds=5)))
def charge(ctx: ActionCtx, *, amount: int) -> str:
    assert_type(ctx.idempotency_token, str)
    number: int = ctx.attempt
    assert_type(ctx.attempt.max_attempts, int)
    return str(amount + number)


@internal_action(retry=Retry(backoff=0.5))
def send(ctx: ActionCtx, *, to: Id[User]) -> None: ...


@internal_action()
def sweep(ctx: ActionCtx) -> int:
    return 0


@internal_mutation
def order_failed(ctx: MutationCtx, error: str, *, order: int) -> None: ...


@internal_mutation
def forgets_error(ctx: MutationCtx, *, order: int) -> None: ...


@internal_action(retry=Retry(), on_failure=order_failed)
def ship(ctx: ActionCtx, *, order: int) -> None: ...


@action(on_failure=order_failed)  # mypy: incompatible type # pyright: is not assignable
def misspells(ctx: ActionCtx, *, ordr: int) -> None: ...


@internal_action(on_failure=order_failed)  # mypy: incompatible type # pyright: is not assignable
def differs(ctx: ActionCtx, *, order: str) -> None: ...


@internal_action(on_failure=forgets_error)  # mypy: incompatible type # pyright: is not assignable
def ships(ctx: ActionCtx, *, order: int) -> None: ...


@query
def untyped_result(ctx: QueryCtx, *, id: Id[Item]) -> Any:
    return ctx.db.get(id)


@query
def wrong_result(ctx: QueryCtx) -> int:
    return "1"  # mypy: Incompatible return value type # pyright: is not assignable to return type "int"


@query  # mypy: expected "Callable[[QueryCtx], int]" # pyright: too few positional parameters
def no_ctx() -> int:
    return 1


@query  # mypy: expected "Callable[[QueryCtx], None]" # pyright: "QueryCtx" is not assignable to "MutationCtx"
def changes(ctx: MutationCtx) -> None: ...


@action  # mypy: expected "Callable[[ActionCtx], None]" # pyright: "ActionCtx" is not assignable to "MutationCtx"
def acts(ctx: MutationCtx) -> None: ...


@internal_action(retry=Retry())  # mypy: expected "Callable[[ActionCtx], None]" # pyright: "ActionCtx" is not assignable to "MutationCtx"
def acts_again(ctx: MutationCtx) -> None: ...


@action(retry=3)  # mypy: No overload variant of "action" # pyright: "Literal[3]" is not assignable to "Retry"
def tries(ctx: ActionCtx) -> None: ...


@mutation(retry=Retry())  # mypy: Unexpected keyword argument "retry" # pyright: Argument missing for parameter "handler"
def writes_again(ctx: MutationCtx) -> None: ...


Retry(3)  # mypy: Too many positional arguments # pyright: Expected 0 positional arguments
Retry(attempts=3)  # E: "attempts"
Retry(max_attempts="3")  # E: "max_attempts"
Retry(backoff="1 s")  # E: "backoff"


# --- calls through an ActionCtx --------------------------------------------------------------------------------------


def calls(ctx: ActionCtx, user_id: Id[User], item_id: Id[Item]) -> None:
    assert_type(ctx.run_mutation(create, name="Lamp"), Id[Item])
    assert_type(ctx.run_mutation(create, name="Lamp", price=3.0), Id[Item])
    ctx.run_mutation(create, nmae="Lamp")  # mypy: No overload variant of "run_mutation" # pyright: No parameter named "nmae"
    ctx.run_mutation(create)  # mypy: No overload variant of "run_mutation" # pyright: "name"
    ctx.run_mutation(create, name=3)  # mypy: No overload variant of "run_mutation" # pyright: "name"
    ctx.run_mutation(create, name="Lamp", price="3")  # mypy: No overload variant of "run_mutation" # pyright: "price"
    ctx.run_mutation(create, "Lamp")  # mypy: No overload variant of "run_mutation" # pyright: ositional argument
    ctx.run_mutation(get, id=item_id)  # mypy: No overload variant of "run_mutation" # pyright: No overloads for "run_mutation"
    ctx.run_mutation("items:create", name="Lamp")

    assert_type(ctx.run_query(get, id=item_id), Item | None)
    assert_type(ctx.run_query(list_names), list[str])
    assert_type(sorted(ctx.run_query(list_names)), list[str])
    assert_type(ctx.run_query(area, Size(2)), int)
    assert_type(ctx.run_query(area, size=Size(2), factor=2), int)
    assert_type(ctx.run_query("items:get", id=item_id), Any)
    ctx.run_query(get, id=user_id)  # mypy: No overload variant # pyright: Id[Item]
    ctx.run_query(get, id="items_1")  # mypy: No overload variant # pyright: Id[Item]
    ctx.run_query(get, ident=item_id)  # mypy: No overload variant of "run_query" # pyright: "ident"
    ctx.run_query(get)  # mypy: No overload variant of "run_query" # pyright: "id"
    ctx.run_query(list_names, limit="10")  # mypy: No overload variant of "run_query" # pyright: "limit"
    ctx.run_query(area, 2)  # mypy: No overload variant # pyright: Size
    ctx.run_query(create, name="Lamp")  # mypy: No overload variant of "run_query" # pyright: No overloads for "run_query"
    ctx.run_query(len)  # mypy: No overload variant of "run_query" # pyright: No overloads for "run_query"
    ctx.run_query(get, id=item_id).name  # mypy: Item "None" of "Item | None" # pyright: attribute of "None"

    assert_type(ctx.run_action(fetch, url="https://example.com"), int)
    assert_type(ctx.run_action(fetch_all, urls=[]), list[int])
    ctx.run_action(fetch, uri="https://example.com")  # mypy: No overload variant of "run_action" # pyright: "uri"
    ctx.run_action(fetch, url=b"https://example.com")  # mypy: No overload variant of "run_action" # pyright: "url"
    ctx.run_action(fetch)  # mypy: No overload variant of "run_action" # pyright: "url"
    ctx.run_action(rename, id=item_id, name="Desk")  # mypy: No overload variant # pyright: No overloads
    assert_type(ctx.run_action(charge, amount=3), str)
    assert_type(ctx.run_action(sweep), int)
    ctx.run_action(charge, amount="3")  # mypy: No overload variant of "run_action" # pyright: No overloads for "run_action"
    ctx.run_action(send, to=item_id)  # mypy: No overload variant of "run_action" # pyright: No overloads for "run_action"
    ctx.db  # mypy: "ActionCtx" has no attribute "db" # pyright: Cannot access attribute "db"
    ctx.now  # mypy: "ActionCtx" has no attribute "now" # pyright: Cannot access attribute "now"

    create(ctx, name="Lamp")  # mypy: not callable # pyright: callable
    get(ctx, id=item_id)  # mypy: not callable # pyright: callable
    fetch(ctx, url="https://example.com")  # mypy: not callable # pyright: callable


# --- later and once --------------------------------------------------------------------------------------------------


def create_charge(token: str) -> int:
    return len(token)


def schedules(ctx: ActionCtx, user_id: Id[User], item_id: Id[Item], when: datetime.datetime) -> None:
    job = ctx.scheduler.run_after(60, create, name="Lamp")
    assert_type(job, Id[ScheduledFunction])
    assert_type(ctx.scheduler.run_after(datetime.timedelta(hours=1), charge, amount=3), Id[ScheduledFunction])
    assert_type(ctx.scheduler.run_at(when, send, to=user_id), Id[ScheduledFunction])
    assert_type(ctx.scheduler.run_at(when, "items:create", name="Lamp"), Id[ScheduledFunction])
    ctx.scheduler.run_after(0.5, create, name="Lamp", price=3.0)
    ctx.scheduler.run_after(0, sweep)
    ctx.scheduler.run_after(0, "items:create", name="Lamp")
    ctx.scheduler.cancel(job)
    ctx.scheduler.run_after(0, create, nmae="Lamp")  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, create)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, charge, amount="3")  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, send, to=item_id)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, sweep, limit=3)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, list_names)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, create_charge)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after("60", sweep)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(when, sweep)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_at(60, sweep)  # mypy: No overload variant of "run_at" # pyright: No overloads for "run_at"
    ctx.scheduler.run_at(when, create, name=3)  # mypy: No overload variant of "run_at" # pyright: No overloads for "run_at"
    ctx.scheduler.run_at(when, get, id=item_id)  # mypy: No overload variant of "run_at" # pyright: No overloads for "run_at"
    ctx.scheduler.cancel(item_id)  # E: Id[ScheduledFunction]
    ctx.scheduler.cancel("_scheduled_functions_1")  # E: Id[ScheduledFunction]

    assert_type(ctx.once("charge:1", create_charge), int)
    assert_type(ctx.once("charge:1", lambda token: token.upper(), keep=datetime.timedelta(days=1)), str)
    ctx.once("charge:1", lambda token: token.uper())  # E: "uper"
    ctx.once("charge:1", lambda: 1)  # mypy: expected "Callable[[str], int]" # pyright: expected 1 but received 0
    ctx.once(1, create_charge)  # mypy: expected "str" # pyright: "Literal[1]" is not assignable to "str"
    ctx.once("charge:1", create_charge, keep=60)
    ctx.once("charge:1", create_charge, keep="1d")  # E: "keep"
    ctx.once(create_charge)  # E: "call"


# --- files -----------------------------------------------------------------------------------------------------------


def files(ctx: ActionCtx, request: Request) -> None:
    photo = request.files["photo"]
    assert_type(ctx.storage.store(photo), Id[StoredFile])
    file = ctx.storage.store(request.stream, content_type=request.content_type, name=photo.filename)
    assert_type(ctx.storage.get_url(file, inline=True), str | None)
    ctx.storage.generate_upload_url(max_bytes=10, content_types=["image/*"], once=True)
    ctx.storage.store("text")  # E: "str"
    ctx.storage.store(b"bytes", nam="a.txt")  # E: "nam"


# --- identities ------------------------------------------------------------------------------------------------------


@require_identity(scopes=["read"], invalid_status=401)
def identified(ctx: ActionCtx, request: Request) -> str:
    assert_type(ctx.identity, UserIdentity)
    assert_type(ctx.auth.get_user_identity(), UserIdentity | None)
    ctx.auth.get_user_identity().subject  # mypy: Item "None" of "UserIdentity | None" # pyright: attribute of "None"
    ctx.api_keys  # E: "api_keys"
    return ctx.identity.subject


require_bearer(invalid_status=404)  # mypy: No overload variant of "require_bearer" # pyright: "invalid_status"
OIDC("https://auth.example", audience="shop")
OIDC("https://auth.example")  # E: "audience"
CustomJWT(issuer="a", jwks="https://a.example", algorithm="HS256")  # E: "algorithm"


@mutation
def issues(ctx: MutationCtx, *, key_id: str) -> str:
    key = ctx.api_keys.create(name="ci", scopes=["read"], expires=datetime.timedelta(days=1), owner="user_1")
    assert_type(key.id, str)
    ctx.api_keys.create(scopes=["read"])  # E: "name"
    ctx.tokens.create(owner="user_1", expires="1d")  # E: "expires"
    return ctx.api_keys.rotate(key_id, overlap=datetime.timedelta(hours=1))


# --- webhooks --------------------------------------------------------------------------------------------------------


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


@http.webhook("/stripe", Stripe(secret="whsec_1"), source="stripe", mode="enqueue", order_by="data.object.customer")
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    assert_type(event.type, str)
    assert_type(ctx.db.insert(Item(name=event.id)), Id[Item])


http.webhook("/stripe", Stripe(secret="whsec_1"), mode="later")  # E: "mode"
by_type = http.webhook("/by-type", Stripe(secret="whsec_1"))


@by_type.on("item.created", "item.*")
def on_item(ctx: MutationCtx, event: WebhookEvent, item: NewItem) -> None:
    assert_type(item.name, str)


@by_type.otherwise
def on_other(ctx: MutationCtx, event: WebhookEvent) -> None: ...


def takes_request(ctx: MutationCtx, request: Request) -> None: ...


def takes_action_ctx(ctx: ActionCtx, event: WebhookEvent, item: NewItem) -> None: ...


def takes_four(ctx: MutationCtx, event: WebhookEvent, item: NewItem, more: str) -> None: ...


by_type.on("a")(takes_request)  # E: Request
by_type.on("a")(takes_action_ctx)  # E: ActionCtx
by_type.on("a")(takes_four)  # E: NewItem
by_type.on()  # E: "pattern"
by_type.otherwise(takes_request)  # E: Request
http.webhook("/stripe", Stripe(secret="whsec_1"), order="customer")  # E: "order"
http.webhook("/stripe", Stripe(secret="whsec_1", tolerance=300))  # E: "tolerance"


def delivers(client: FlaskClient) -> None:
    assert_type(deliver(client, "stripe", "invoice.paid", duplicate=2).status_code, int)
    deliver(client, "stripe", "invoice.paid", duplicat=2)  # E: "duplicat"


# --- inside of queries and mutations ---------------------------------------------------------------------------------


@query
def reads(ctx: QueryCtx, *, user_id: Id[User], item_id: Id[Item]) -> None:
    assert_type(ctx.db.get(item_id), Item | None)
    assert_type(ctx.db.get(user_id), User | None)
    assert_type(ctx.db.query(Item).collect(), list[Item])
    assert_type(ctx.db.query(Item).filter(lambda item: item.price > 3).first(), Item | None)
    assert_type(ctx.db.query(User).with_index("by_clerk_id", clerk_id="user_1").unique(), User | None)
    assert_type(ctx.db.query(Item).with_index("by_name", name=gte("a")).order("desc").take(3), list[Item])
    assert_type(ctx.db.query(Item).with_index("by_name", name=between("a", "b")).paginate(num_items=2), Page[Item])
    assert_type(ctx.db.query(Item).paginate(PaginationOptions(num_items=2)), Page[Item])
    assert_type([item.name for item in ctx.db.query(Item)], list[str])
    assert_type(ctx.db.normalize_id(Item, "x"), Id[Item] | None)
    assert_type(ctx.now, float)
    assert_type(ctx.run_query(get, id=item_id), Item | None)
    ctx.db.get("items_1")  # E: Id[
    ctx.db.get(item_id).name  # mypy: Item "None" of "Item | None" # pyright: attribute of "None"
    ctx.db.query("items")  # mypy: "str" # pyright: Literal['items']
    ctx.db.query(Item).order("down")  # E: order
    ctx.db.query(Item).filter(lambda item: item.prise > 3)  # E: "prise"
    ctx.db.insert(Item(name="Lamp"))  # E: "insert"
    ctx.storage.delete  # E: "delete"
    ctx.storage.store(b"")  # E: "store"
    ctx.db.query(Item).all()  # E: "all"
    ctx.db.query(Item).count()  # E: "count"
    ctx.scheduler.run_after(0, sweep)  # E: "scheduler"
    ctx.once("charge:1", create_charge)  # E: "once"
    assert_type(ctx.db.system.query(ScheduledFunction).first(), ScheduledFunction | None)
    ctx.run_mutation(create, name="Lamp")  # E: "run_mutation"
    ctx.run_action(fetch, url="")  # E: "run_action"
    ctx.run_query(get, id=user_id)  # mypy: No overload variant # pyright: Id[Item]


@mutation
def writes(ctx: MutationCtx, *, user_id: Id[User], item_id: Id[Item], team_id: Id[Team]) -> None:
    assert_type(ctx.db.insert(Team(name="A")), Id[Team])
    assert_type(ctx.storage.store(b"", content_type="text/plain"), Id[StoredFile])
    ctx.storage.store("text")  # E: "str"
    ctx.storage.get(Id("_storage_1"))  # E: "get"
    ctx.db.commit()  # E: "commit"
    assert_type(ctx.run_mutation(create, name="Lamp"), Id[Item])
    assert_type(ctx.db.apply_if_newer(Team(name="A"), by="by_name", version="name"), Id[Team] | None)
    ctx.db.apply_if_newer(Team(name="A"), by="by_name", versoin="name")  # E: "versoin"
    assert_type(ctx.db.system.query(WebhookDelivery).first(), WebhookDelivery | None)
    Item(name="Lamp", owner=user_id)
    Item(name="Lamp", editor=user_id)
    Item(name="Lamp", editor=team_id)
    Item(name="Lamp", editor=item_id)  # E: Id[Item]
    Item(name="Lamp", owner=item_id)  # E: Id[Item]
    assert_type(ctx.scheduler.run_after(0, create, name="Lamp"), Id[ScheduledFunction])
    ctx.scheduler.run_after(0, create, nmae="Lamp")  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.scheduler.run_after(0, get, id=item_id)  # mypy: No overload variant of "run_after" # pyright: No overloads for "run_after"
    ctx.once("charge:1", create_charge)  # E: "once"
    ctx.idempotency_token  # E: "idempotency_token"
    ctx.db.replace(item_id, Item(name="Desk"))
    ctx.db.replace(ctx.db.query(User).collect()[0].id, User(clerk_id="user_1", email=None, name="Ada"))
    ctx.db.replace(item_id, User(clerk_id="user_1", email=None, name="Ada"))  # mypy: type parameter "D" of "replace" # pyright: "User"
    ctx.db.patch(item_id, name="Desk")
    ctx.db.delete(item_id)
    ctx.db.insert("Lamp")  # mypy: "str" # pyright: Literal['Lamp']
    ctx.db.insert(Item)  # E: type[Item]
    ctx.db.delete("items_1")  # E: Id[
    ctx.run_mutation(rename, id=user_id, name="Desk")  # mypy: No overload variant # pyright: Id[Item]
    ctx.run_action(fetch, url="")  # E: "run_action"
    ctx.now = 1.0
