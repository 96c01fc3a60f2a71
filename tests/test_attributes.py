"""Attributes that people expect from other libraries: each error says what to write instead."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flask_convex_http import (
    ActionCtx,
    Document,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.testing import memory_backend


class Item(Document, table="items"):
    """An item."""

    name: str


def looked_up(kind: str, look: Callable[[Any], Any]) -> Any:
    """Return what `look` returns for the ctx of a function of this kind."""
    found: list[Any] = []

    @internal_query
    def query(ctx: QueryCtx) -> None:
        found.append(look(ctx))

    @internal_mutation
    def mutation(ctx: MutationCtx) -> None:
        found.append(look(ctx))

    @internal_action
    def action(ctx: ActionCtx) -> None:
        found.append(look(ctx))

    with memory_backend(Schema(Item), [query, mutation, action]) as backend:
        ctx = backend.ctx()
        {
            "query": lambda: ctx.run_query(query),
            "mutation": lambda: ctx.run_mutation(mutation),
            "action": lambda: ctx.run_action(action),
        }[kind]()
    return found[0]


HINTS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("action", lambda ctx: ctx.db, "call one from here: ctx.run_query"),
    ("action", lambda ctx: ctx.db.insert(Item(name="a")), "ctx.run_mutation"),
    ("action", lambda ctx: ctx.now, r"write time\.time\(\)"),
    ("action", lambda ctx: ctx.runQuery, r"write ctx\.run_query"),
    ("query", lambda ctx: ctx.run_mutation, "a query only reads"),
    ("query", lambda ctx: ctx.scheduler, "a query only reads"),
    ("query", lambda ctx: ctx.db.insert(Item(name="a")), "write in a mutation"),
    ("query", lambda ctx: ctx.db.delete("a"), "write in a mutation"),
    ("query", lambda ctx: ctx.storage.store(b"a"), "call it in a mutation, an action or a handler"),
    ("query", lambda ctx: ctx.storage.delete("a"), "call it in a mutation"),
    ("mutation", lambda ctx: ctx.storage.get("a"), "read the file in a handler or an action"),
    ("mutation", lambda ctx: ctx.storage.generateUploadUrl, r"write ctx\.storage\.generate_upload_url"),
    ("mutation", lambda ctx: ctx.rateLimit, r"write ctx\.rate_limit"),
    ("mutation", lambda ctx: ctx.once, "ctx.once is for actions"),
    ("mutation", lambda ctx: ctx.run_action, "schedule one with ctx.scheduler"),
    ("mutation", lambda ctx: ctx.runMutation, r"write ctx\.run_mutation"),
    ("mutation", lambda ctx: ctx.db.commit(), "a mutation commits when it returns"),
    ("mutation", lambda ctx: ctx.db.update, r"write ctx\.db\.patch"),
    ("mutation", lambda ctx: ctx.db.normalizeId, r"write ctx\.db\.normalize_id"),
    ("query", lambda ctx: ctx.db.query(Item).all(), r"write collect\(\)"),
    ("query", lambda ctx: ctx.db.query(Item).count(), r"write len\(query\.collect\(\)\)"),
    ("query", lambda ctx: ctx.db.query(Item).limit(3), r"write take\(10\)"),
    ("query", lambda ctx: ctx.db.query(Item).order_by("name"), r'order\("desc"\)'),
    ("query", lambda ctx: ctx.db.query(Item).filter_by(name="a"), "with_index"),
    ("query", lambda ctx: ctx.db.query(Item).withIndex("by_name"), r"write ctx\.db\.query\(\.\.\.\)\.with_index"),
]


@pytest.mark.parametrize(("kind", "look", "hint"), HINTS)
def test_a_missing_attribute_says_what_to_write(kind: str, look: Callable[[Any], Any], hint: str) -> None:
    """An attribute that does not exist is an AttributeError with the expression to write."""
    with pytest.raises(AttributeError, match=hint):
        looked_up(kind, look)


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_an_unknown_name_has_no_hint(kind: str) -> None:
    """A name that nobody expects is the AttributeError of Python, with the object and the name."""
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$") as raised:
        looked_up(kind, lambda ctx: ctx.nonsense)
    assert raised.value.name == "nonsense"


def test_hasattr_and_copies_work_as_usual() -> None:
    """hasattr is False for a missing attribute, getattr has its default, and a query can be copied."""
    assert looked_up("action", lambda ctx: hasattr(ctx, "db")) is False
    assert looked_up("action", lambda ctx: getattr(ctx, "db", "none")) == "none"
    assert looked_up("mutation", lambda ctx: hasattr(ctx.storage, "get")) is False
    assert looked_up("query", lambda ctx: hasattr(ctx.db.query(Item), "all")) is False
    assert looked_up("query", lambda ctx: copy.copy(ctx.db.query(Item)).collect()) == []


def test_dir_lists_no_missing_attributes() -> None:
    """dir() of an object, which shells complete names from, has only the attributes that exist."""
    names = looked_up("query", dir)
    assert "run_query" in names
    assert {"run_mutation", "runQuery", "once"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("items", "write Item$"),
        (Item(name="a"), "write Item$"),
        ("nothing", "instead of the class"),
        (dict, "instead of"),
    ],
)
def test_a_query_takes_a_class(given: Any, hint: str) -> None:
    """`ctx.db.query` with the name of a table, or with a document, names the class to write."""
    with pytest.raises(RegistrationError, match=hint):
        looked_up("query", lambda ctx: ctx.db.query(given))
