# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""What queries and mutations may do inside."""

from typing import assert_type

from flask_convex_http import (
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    ScheduledFunction,
    StoredFile,
    WebhookDelivery,
    between,
    gte,
    mutation,
    query,
)
from user_code.documents import Item, Team, User
from user_code.functions import create, create_charge, fetch, get, rename, sweep


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
