# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Calls of functions through an ActionCtx: at once, later and once; files and identities."""

import datetime
from typing import Any, assert_type

from flask import Request

from flask_convex_http import (
    OIDC,
    ActionCtx,
    CustomJWT,
    Id,
    MutationCtx,
    ScheduledFunction,
    StoredFile,
    UserIdentity,
    mutation,
    require_bearer,
    require_identity,
)
from user_code.documents import Item, Size, User
from user_code.functions import (
    area,
    charge,
    create,
    create_charge,
    fetch,
    fetch_all,
    get,
    list_names,
    rename,
    send,
    sweep,
)


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


def files(ctx: ActionCtx, request: Request) -> None:
    photo = request.files["photo"]
    assert_type(ctx.storage.store(photo), Id[StoredFile])
    file = ctx.storage.store(request.stream, content_type=request.content_type, name=photo.filename)
    assert_type(ctx.storage.get_url(file, inline=True), str | None)
    ctx.storage.generate_upload_url(max_bytes=10, content_types=["image/*"], once=True)
    ctx.storage.store("text")  # E: "str"
    ctx.storage.store(b"bytes", nam="a.txt")  # E: "nam"


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
