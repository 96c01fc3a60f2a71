# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Functions of users, with right and wrong signatures."""

import datetime
from typing import Any, assert_type

from flask_convex_http import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    Retry,
    UserIdentity,
    action,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from user_code.documents import Item, Size, User


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


def create_charge(token: str) -> int:
    return len(token)
