"""Arguments of jobs: checked when they are scheduled, stored as JSON, and equal when the function runs."""

import datetime
import enum
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    Document,
    Id,
    MutationCtx,
    ScheduledFunction,
    Schema,
    action,
    internal_action,
    internal_mutation,
)
from flask_convex_http.functions.function import Function
from flask_convex_http.testing import memory_backend, run_scheduled
from tests.lengths import SAMPLED, examples

UTC = datetime.UTC


class Item(Document, table="items"):
    name: str
    at: datetime.datetime | None = None
    tags: list[str] = []


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Size(Struct, frozen=True):
    width: int
    raw: bytes = b""


class Circle(Struct, tag=True):
    radius: float


class Square(Struct, tag=True):
    side: float


class Options(TypedDict, total=False):
    level: Level
    sizes: list[Size]


SCHEMA = Schema(Item)
ID = Id[Item]("items_" + "0" * 32)
ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


def arguments_of(annotation: Any, value: Any) -> list[Any]:
    """Return the arguments that a mutation and an action get which were scheduled with a value."""
    got: list[Any] = []

    def take(ctx: MutationCtx, *, value: annotation) -> None:
        got.append(value)

    def take_too(ctx: ActionCtx, *, value: annotation) -> None:
        got.append(value)

    functions: list[Any] = [internal_mutation(take), internal_action(take_too)]
    with memory_backend(SCHEMA, functions) as backend:
        for function in functions:
            backend.ctx().scheduler.run_after(0, function, value=value)
        assert [job.error for job in run_scheduled(backend)] == [None, None]
    return got


VALUES: list[tuple[Any, Any]] = [
    (str, "\0 é \U0001f600 \u2028 </script>"),
    (int, -(2**63)),
    (int, 2**63 - 1),
    (float, 0.1),
    (float, 7),
    (bool, True),
    (None, None),
    (bytes, bytes(range(256))),
    (datetime.datetime, datetime.datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)),
    (datetime.datetime, datetime.datetime(2026, 1, 31, 12, tzinfo=ZONE)),
    (datetime.date, datetime.date(2026, 1, 31)),
    (datetime.time, datetime.time(12, 30, 0, 7)),
    (datetime.timedelta, datetime.timedelta(days=-1, microseconds=7)),
    (uuid.UUID, uuid.UUID(int=7)),
    (Decimal, Decimal("0.10")),
    (Id[Item], ID),
    (Id[ScheduledFunction], "_scheduled_functions_" + "f" * 32),
    (Item, Item(name="Lamp", at=datetime.datetime(2026, 1, 31, tzinfo=UTC), tags=["a"])),
    (Size, Size(2, b"\xff")),
    (Circle | Square, Square(2.0)),
    (Level, Level.HIGH),
    (Literal["a", 1], 1),
    (set[int], {1, 2}),
    (frozenset[Level], frozenset({Level.LOW})),
    (tuple[int, str], (1, "a")),
    (dict[str, list[Size]], {"a": [Size(1, b"a")]}),
    (dict[int, bytes], {7: b"a"}),
    (Options, {"level": Level.LOW, "sizes": [Size(1)]}),
    (Any, {"a": [1, 2.5, None, True, "x", {"b": []}]}),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=lambda value: ascii(value)[:40])
def test_round_trip(annotation: Any, value: Any) -> None:
    """A value of any annotation arrives as it was given, with its type."""
    got = arguments_of(annotation, value)
    assert got == [value, value]
    if annotation is not float:
        assert [type(one) for one in got] == [type(value)] * 2


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@SAMPLED
def test_any_json() -> None:
    """Every JSON value arrives as it was given."""
    got: list[Any] = []

    @internal_mutation
    def take(ctx: MutationCtx, *, value: Any) -> None:
        got.append(value)

    with memory_backend(SCHEMA, [take]) as backend:

        @given(JSON)
        @settings(deadline=None, max_examples=examples(100))
        def check(value: Any) -> None:
            backend.ctx().scheduler.run_after(0, take, value=value)
            (job,) = run_scheduled(backend)
            assert (job.error, got.pop()) == (None, value)

        check()


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [b"bytes"],
        {"a": datetime.datetime(2026, 1, 31, tzinfo=UTC)},
        (1, 2),
        {1, 2},
        {1: "a"},
        Size(1),
        Level.LOW,
        "\ud800",
        object(),
        len,
        nested(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_json_cannot_hold(value: Any) -> None:
    """A value that JSON cannot hold is rejected at once where the annotation is Any."""

    @internal_mutation
    def take(ctx: MutationCtx, *, value: Any) -> None: ...

    with memory_backend(SCHEMA, [take]) as backend, pytest.raises(ArgumentValidationError, match="take: ") as caught:
        backend.ctx().scheduler.run_after(0, take, value=value)
    is_from_json = isinstance(value, float | str | list | tuple) and value != [b"bytes"]
    assert caught.value.status == (400 if is_from_json or value == {1: "a"} else 500)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity(value: float) -> None:
    """NaN and infinity are rejected, since JSON would turn them into null."""

    @internal_mutation
    def take(ctx: MutationCtx, *, value: float | None) -> None: ...

    with memory_backend(SCHEMA, [take]) as backend, pytest.raises(ArgumentValidationError, match="take: "):
        backend.ctx().scheduler.run_after(0, take, value=value)


# --- defaults, copies and errors -------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_run() -> None:
    """Defaults are not stored. Each run gets a new copy of the function's present ones."""
    got: list[Any] = []

    @internal_mutation
    def take(ctx: MutationCtx, number: int = 7, tags: list[str] = [], gone: str | UnsetType = UNSET) -> None:  # noqa: B006
        tags.append("seen")
        got.append((number, tags, gone))

    with memory_backend(SCHEMA, [take]) as backend:
        scheduler = backend.ctx().scheduler
        scheduler.run_after(0, take)
        scheduler.run_after(0, take, 8)
        scheduler.run_after(0, take, number=9, tags=["a"], gone="b")
        ran = run_scheduled(backend)
    assert [job.args for job in ran] == [{}, {"number": 8}, {"number": 9, "tags": ["a"], "gone": "b"}]
    assert got == [(7, ["seen"], UNSET), (8, ["seen"], UNSET), (9, ["a", "seen"], "b")]


def test_arguments_are_copied() -> None:
    """Changing a value after it was scheduled does not change the job."""
    got: list[Any] = []

    @internal_mutation
    def take(ctx: MutationCtx, *, tags: list[str]) -> None:
        got.extend(tags)

    with memory_backend(SCHEMA, [take]) as backend:
        tags = ["a"]
        backend.ctx().scheduler.run_after(0, take, tags=tags)
        tags.append("b")
        run_scheduled(backend)
    assert got == ["a"]


@action
def fetch(ctx: ActionCtx, url: str, *, size: Size | None = None, item: Id[Item] | None = None) -> None: ...


@pytest.mark.parametrize("function", [fetch, "test_scheduler_arguments:fetch"], ids=["reference", "name"])
@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "Missing required field `url` - at `$.url`"),
        ((), {"url": 7}, "- at `$.url`"),
        ((), {"url": "a", "uri": "a"}, "Unknown field `uri` - at `$.uri`"),
        ((), {"url": "a", "size": {"width": "1"}}, "- at `$.size"),
        ((), {"url": "a", "item": "users_" + "0" * 32}, "- at `$.item`"),
        (("a", "b"), {}, "arguments are given by name: url, size, item"),
        (("a",), {"url": "b"}, "argument given twice - at `$.url`"),
    ],
)
def test_wrong_arguments(
    function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    """Arguments that do not match are rejected when they are scheduled, with their path."""

    @internal_mutation
    def inside(ctx: MutationCtx) -> None:
        scheduler: Any = ctx.scheduler
        scheduler.run_after(0, function, *args, **kwargs)

    with memory_backend(SCHEMA, [fetch]) as backend:
        ctx: Any = backend.ctx()
        schedules: list[Callable[[], object]] = [
            lambda: ctx.run_mutation(inside),
            lambda: ctx.scheduler.run_after(0, function, *args, **kwargs),
        ]
        for schedule in schedules:
            with pytest.raises(ArgumentValidationError) as caught:
                schedule()
            assert message in str(caught.value)
            assert str(caught.value).startswith("test_scheduler_arguments:fetch: ")
        assert run_scheduled(backend) == []
