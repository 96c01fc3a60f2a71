"""Calls between functions: allowed kinds, depth, time, identity and application errors."""

from datetime import timedelta
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    AuthenticationError,
    ConvexError,
    Document,
    FunctionCallError,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    UserIdentity,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from flask_convex_http.backend import Backend
from flask_convex_http.runtime.caller import MAX_DEPTH
from flask_convex_http.testing import Clock, memory_backend

ADA = UserIdentity(subject="ada", issuer="test")


class Item(Document, table="items"):
    name: str


SCHEMA = Schema(Item)


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> Id[Item]:
    return ctx.db.insert(Item(name=name))


@internal_query
def names(ctx: QueryCtx) -> list[str]:
    return [item.name for item in ctx.db.query(Item)]


def stored(backend: Backend) -> list[str]:
    return backend.ctx().run_query(names)


# --- allowed calls ---------------------------------------------------------------------------------------------------


def test_a_query_only_reads() -> None:
    """The ctx of a query runs no mutation and no action."""

    @query
    def sly(ctx: Any) -> list[bool]:
        return [hasattr(ctx, "run_mutation"), hasattr(ctx, "run_action"), hasattr(ctx.db, "insert")]

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_query(sly) == [False, False, False]


def test_a_mutation_runs_no_action() -> None:
    """The ctx of a mutation runs no action."""

    @mutation
    def sly(ctx: Any) -> list[bool]:
        return [hasattr(ctx, "run_query"), hasattr(ctx, "run_mutation"), hasattr(ctx, "run_action")]

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_mutation(sly) == [True, True, False]


def test_an_action_has_no_database() -> None:
    """The ctx of an action has no `db`."""

    @action
    def sly(ctx: Any) -> list[bool]:
        return [hasattr(ctx, "db"), hasattr(ctx, "now")]

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_action(sly) == [False, False]


def test_wrong_kind_inside_functions() -> None:
    """The kind of a function is checked before its arguments."""

    @mutation
    def outer(ctx: Any) -> None:
        ctx.run_query(add, nonsense=1)

    with memory_backend(SCHEMA) as backend, pytest.raises(FunctionCallError, match="add is a mutation and was"):
        backend.ctx().run_mutation(outer)


@pytest.mark.parametrize("decorate", [query, mutation, action])
def test_endless_calls(decorate: Any) -> None:
    """Functions that call themselves without end raise, and are rolled back."""
    calls: list[int] = []

    @decorate  # type: ignore[untyped-decorator]
    def again(ctx: Any) -> None:
        calls.append(1)
        getattr(ctx, f"run_{again.kind}")(again)

    with memory_backend(SCHEMA) as backend:
        ctx: Any = backend.ctx()
        with pytest.raises(FunctionCallError, match="8 deep; is there an endless loop"):
            getattr(ctx, f"run_{again.kind}")(again)
    assert len(calls) == MAX_DEPTH


# --- shared by all calls ---------------------------------------------------------------------------------------------


def test_now_does_not_move() -> None:
    """`ctx.now` is the start of the transaction for all functions in it, even if the clock moves."""
    clock = Clock()

    @internal_query
    def time(ctx: QueryCtx) -> float:
        clock.advance(timedelta(seconds=1))
        return ctx.now

    @internal_mutation
    def times(ctx: MutationCtx, *, depth: int = 0) -> list[float]:
        clock.advance(timedelta(seconds=1))
        inner = ctx.run_mutation(times, depth=depth + 1) if depth < 2 else []
        return [ctx.now, ctx.run_query(time), *inner]

    with memory_backend(SCHEMA, clock=clock) as backend:
        before = clock()
        assert set(backend.ctx().run_mutation(times)) == {before}
        later = clock()
        assert later > before
        assert backend.ctx().run_query(time) == later


def test_creation_times_grow_within_a_transaction() -> None:
    """Documents of one transaction, inner mutations included, are in the order of their insertion."""
    clock = Clock()

    @mutation
    def five(ctx: MutationCtx) -> list[float]:
        for number in range(5):
            ctx.run_mutation(add, name=str(number)) if number % 2 else ctx.db.insert(Item(name=str(number)))
        return [item.creation_time for item in ctx.db.query(Item)]

    with memory_backend(SCHEMA, clock=clock) as backend:
        times = backend.ctx().run_mutation(five)
        assert stored(backend) == list("01234")
    assert times[0] == clock()
    assert times == sorted(set(times))


def test_identity_is_passed_on() -> None:
    """Every inner function has the identity of the outermost caller."""

    @internal_query
    def who(ctx: QueryCtx) -> UserIdentity | None:
        return ctx.auth.get_user_identity()

    @internal_mutation
    def who_writes(ctx: MutationCtx) -> list[UserIdentity | None]:
        return [ctx.auth.get_user_identity(), ctx.run_query(who)]

    @action
    def everyone(ctx: ActionCtx) -> list[UserIdentity | None]:
        return [ctx.auth.get_user_identity(), ctx.run_query(who), *ctx.run_mutation(who_writes)]

    with memory_backend(SCHEMA, [everyone, who]) as backend:
        assert backend.ctx(ADA).run_action(everyone) == [ADA] * 4
        assert backend.ctx().run_action(everyone) == [None] * 4
        assert backend.run("test_runtime_calls:who", {}, identity=ADA) == ADA


def test_an_anonymous_call_that_needs_an_identity() -> None:
    """The error of `ctx.identity` without a caller says who has none, and names the attribute to read instead."""

    @internal_query
    def who(ctx: QueryCtx) -> str:
        return ctx.identity.subject

    with (
        memory_backend(SCHEMA, [who]) as backend,
        pytest.raises(AuthenticationError, match=r"Commands, jobs .* returns None there") as caught,
    ):
        backend.ctx().run_query(who)
    assert caught.value.client_message == "Missing credentials"


def test_application_errors() -> None:
    """A ConvexError passes through all calls with its data and status, and rolls back the transaction."""

    @internal_mutation
    def refuse(ctx: MutationCtx) -> None:
        ctx.db.insert(Item(name="a"))
        raise ConvexError({"message": "Sold out", "left": 0}, status=409)

    @mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.run_mutation(refuse)

    @action
    def outermost(ctx: ActionCtx) -> None:
        ctx.run_mutation(outer)

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(ConvexError) as caught:
            backend.ctx().run_action(outermost)
        assert stored(backend) == []
    assert (caught.value.data, caught.value.status) == ({"message": "Sold out", "left": 0}, 409)
    assert caught.value.message == "Sold out"


@pytest.mark.parametrize("status", [0, 200, 399, 600])
def test_application_error_status(status: int) -> None:
    """A ConvexError with a status that is no error is rejected."""
    with pytest.raises(ValueError, match="is not an error status: use 400 to 599"):
        ConvexError("no", status=status)
