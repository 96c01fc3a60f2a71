"""Running functions: transactions, inner mutations, snapshots, and the steps after a commit."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ActionCtx,
    Document,
    EngineError,
    FunctionCallError,
    Id,
    MutationCtx,
    QueryCtx,
    ReturnsValidationError,
    Schema,
    StoredFile,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from flask_convex_http.backend import Backend
from tests.databases import EACH_ENGINE, memory_backend
from tests.lengths import SAMPLED, examples

pytestmark = EACH_ENGINE


class Item(Document, table="items"):
    name: str


SCHEMA = Schema(Item)


class Boom(Exception):
    """The exception that functions of these tests raise."""


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> Id[Item]:
    return ctx.db.insert(Item(name=name))


@internal_mutation
def add_and_fail(ctx: MutationCtx, *, name: str) -> None:
    ctx.db.insert(Item(name=name))
    raise Boom


@internal_query
def names(ctx: QueryCtx) -> list[str]:
    return [item.name for item in ctx.db.query(Item)]


def stored(backend: Backend) -> list[str]:
    return backend.ctx().run_query(names)


# --- transactions ----------------------------------------------------------------------------------------------------


def test_mutation_commits_wholly_or_not() -> None:
    """A mutation that returns commits all of its writes, one that raises none."""

    @mutation
    def two(ctx: MutationCtx, *, fail: bool) -> None:
        ctx.db.insert(Item(name="a"))
        ctx.db.insert(Item(name="b"))
        if fail:
            raise Boom

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(Boom):
            backend.ctx().run_mutation(two, fail=True)
        assert stored(backend) == []
        backend.ctx().run_mutation(two, fail=False)
        assert stored(backend) == ["a", "b"]


def test_wrong_result_rolls_back_the_mutation() -> None:
    """A mutation whose result does not match its annotation is rolled back."""

    @mutation
    def wrong(ctx: MutationCtx) -> int:
        ctx.db.insert(Item(name="a"))
        return "no number"  # type: ignore[return-value]

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(ReturnsValidationError):
            backend.ctx().run_mutation(wrong)
        assert stored(backend) == []


def test_inner_mutation_is_rolled_back_alone() -> None:
    """An inner mutation whose exception is caught is rolled back alone."""

    @mutation
    def outer(ctx: MutationCtx) -> list[str]:
        ctx.run_mutation(add, name="before")
        with pytest.raises(Boom):
            ctx.run_mutation(add_and_fail, name="inside")
        ctx.db.insert(Item(name="after"))
        return ctx.run_query(names)

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_mutation(outer) == ["before", "after"]
        assert stored(backend) == ["before", "after"]


def test_inner_mutation_with_a_wrong_result() -> None:
    """An inner mutation whose result does not match is rolled back alone."""

    @internal_mutation
    def wrong(ctx: MutationCtx) -> int:
        ctx.db.insert(Item(name="inside"))
        return "no number"  # type: ignore[return-value]

    @mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.db.insert(Item(name="before"))
        with pytest.raises(ReturnsValidationError):
            ctx.run_mutation(wrong)

    with memory_backend(SCHEMA) as backend:
        backend.ctx().run_mutation(outer)
        assert stored(backend) == ["before"]


def test_outer_mutation_rolls_back_inner_ones() -> None:
    """An outer mutation that raises rolls back its inner ones."""

    @mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.run_mutation(add, name="inside")
        raise Boom

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(Boom):
            backend.ctx().run_mutation(outer)
        assert stored(backend) == []


PLANS = st.recursive(
    st.just("write"), lambda inner: st.tuples(st.booleans(), st.lists(inner, max_size=4)), max_leaves=12
)


@internal_mutation
def carry_out(ctx: MutationCtx, *, steps: list[Any], path: str = "", fails: bool = False) -> list[str]:
    """Write, or run an inner mutation, and return the names that should be committed."""
    kept: list[str] = []
    for number, step in enumerate(steps):
        name = f"{path}.{number}"
        if step == "write":
            ctx.db.insert(Item(name=name))
            kept.append(name)
            continue
        with contextlib.suppress(Boom, FunctionCallError):  # FunctionCallError: nested too deep
            kept += ctx.run_mutation(carry_out, steps=step[1], path=name, fails=step[0])
    if fails:
        raise Boom
    return kept


@internal_mutation
def clear(ctx: MutationCtx) -> None:
    for item in ctx.db.query(Item).collect():
        ctx.db.delete(item.id)


@SAMPLED
def test_any_nesting() -> None:
    """With any nesting of mutations exactly the writes of those that returned are committed."""
    with memory_backend(SCHEMA) as backend:

        @given(st.lists(PLANS, max_size=4))
        @settings(deadline=None, max_examples=examples(100))
        def check(steps: list[Any]) -> None:
            backend.ctx().run_mutation(clear)
            kept = backend.ctx().run_mutation(carry_out, steps=steps)
            assert stored(backend) == kept

        check()


def test_query_in_a_mutation_sees_its_writes() -> None:
    """A query that a mutation runs sees its writes."""

    @mutation
    def count_twice(ctx: MutationCtx) -> list[list[str]]:
        first = ctx.run_query(names)
        ctx.db.insert(Item(name="a"))
        return [first, ctx.run_query(names)]

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_mutation(count_twice) == [[], ["a"]]


def test_calls_of_an_action_are_separate_transactions() -> None:
    """A mutation of an action is committed and visible at once, even if the action raises."""

    @action
    def two_steps(ctx: ActionCtx) -> None:
        ctx.run_mutation(add, name="a")
        assert ctx.run_query(names) == ["a"]
        with pytest.raises(Boom):
            ctx.run_mutation(add_and_fail, name="b")
        raise Boom

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(Boom):
            backend.ctx().run_action(two_steps)
        assert stored(backend) == ["a"]


def test_query_sees_one_snapshot() -> None:
    """A query, and the queries it runs, do not see a concurrent commit."""

    @query
    def look_twice(ctx: QueryCtx) -> list[list[str]]:
        first = ctx.run_query(names)
        other = threading.Thread(target=lambda: backend.ctx().run_mutation(add, name="a"))
        other.start()
        other.join()
        return [first, ctx.run_query(names), [item.name for item in ctx.db.query(Item)]]

    with memory_backend(SCHEMA) as backend:
        assert backend.ctx().run_query(look_twice) == [[], [], []]
        assert stored(backend) == ["a"]


def test_mutation_through_another_ctx() -> None:
    """A mutation inside a mutation through another ctx is an error, since it would wait for itself."""

    @mutation
    def outer(ctx: MutationCtx) -> None:
        ctx.db.insert(Item(name="a"))
        backend.ctx().run_mutation(add, name="b")

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(FunctionCallError, match="started inside a mutation"):
            backend.ctx().run_mutation(outer)
        assert stored(backend) == []
        backend.ctx().run_mutation(add, name="c")
        assert stored(backend) == ["c"]


def test_ctx_after_its_function() -> None:
    """A ctx cannot be used after its function has ended."""
    kept: list[Any] = []

    @mutation
    def keep(ctx: MutationCtx) -> None:
        kept.append(ctx)

    with memory_backend(SCHEMA) as backend:
        backend.ctx().run_mutation(keep)
        uses: list[Callable[[], object]] = [
            lambda: kept[0].db.insert(Item(name="a")),
            lambda: kept[0].db.query(Item).collect(),
            lambda: kept[0].run_query(names),
            lambda: kept[0].run_mutation(add, name="a"),
        ]
        for use in uses:
            with pytest.raises(EngineError, match="after its function had ended"):
                use()
        assert stored(backend) == []


# --- after the commit ------------------------------------------------------------------------------------------------


@internal_mutation
def remove(ctx: MutationCtx, *, file: Id[StoredFile], fail: bool = False) -> None:
    ctx.storage.delete(file)
    if fail:
        raise Boom


def has_bytes(backend: Backend, file: str) -> bool:
    return any(key == file for key, _ in backend.blobs.keys())  # noqa: SIM118  # no dict


def test_files_go_after_the_commit() -> None:
    """The bytes of a file that a mutation deletes are deleted after the commit, or stay without one."""

    @mutation
    def look(ctx: MutationCtx, *, file: Id[StoredFile], fail: bool) -> None:
        ctx.run_mutation(remove, file=file)
        assert ctx.storage.get_metadata(file) is None
        assert has_bytes(backend, file)
        if fail:
            raise Boom

    with memory_backend(SCHEMA) as backend:
        ctx = backend.ctx()
        file = ctx.storage.store(b"bytes")
        with pytest.raises(Boom):
            ctx.run_mutation(look, file=file, fail=True)
        assert has_bytes(backend, file)
        ctx.run_mutation(look, file=file, fail=False)
        assert not has_bytes(backend, file)


def test_files_of_an_inner_mutation_that_failed_stay() -> None:
    """A file that a rolled back inner mutation deleted keeps its row and its bytes."""

    @mutation
    def outer(ctx: MutationCtx, *, kept: Id[StoredFile], deleted: Id[StoredFile]) -> None:
        with pytest.raises(Boom):
            ctx.run_mutation(remove, file=kept, fail=True)
        ctx.run_mutation(remove, file=deleted)

    with memory_backend(SCHEMA) as backend:
        ctx = backend.ctx()
        kept, deleted = ctx.storage.store(b"kept"), ctx.storage.store(b"deleted")
        ctx.run_mutation(outer, kept=kept, deleted=deleted)
        assert [has_bytes(backend, file) for file in (kept, deleted)] == [True, False]
        found = ctx.storage.get(kept)
        assert found is not None
        assert found.read() == b"kept"


def test_failure_after_the_commit(caplog: pytest.LogCaptureFixture) -> None:
    """A failure after a commit is logged. The commit stands, and the caller gets its result."""
    with memory_backend(SCHEMA) as backend:
        file = backend.ctx().storage.store(b"bytes")
        backend.blobs.close()
        backend.blobs.delete = _fail  # type: ignore[method-assign]
        backend.ctx().run_mutation(remove, file=file)
        assert backend.ctx().storage.get_metadata(file) is None
    assert "the commit stands" in caplog.text


def _fail(key: str) -> None:
    raise OSError("the disk is gone")
