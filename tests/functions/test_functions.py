"""The decorators: registration, errors at definition, and validation of arguments and results."""

import datetime
import enum
import functools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from msgspec import UNSET, Struct, UnsetType

from flask_convex_http import (
    ArgumentValidationError,
    Document,
    FunctionCallError,
    Id,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    ReturnsValidationError,
    Schema,
    action,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)
from flask_convex_http.functions.function import Function
from flask_convex_http.testing import memory_backend

if TYPE_CHECKING:
    from nowhere_at_run_time import Hidden  # type: ignore[import-not-found]

T = TypeVar("T")


class User(Document, table="users"):
    name: str


class Item(Document, table="items"):
    name: str
    tags: list[str] = []  # a document copies its defaults


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Size(Struct):
    width: int
    height: int = 1


SCHEMA = Schema(User, Item)
ONE_SIZE = {"a": Size(1)}


def call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a function through a ctx, as applications do."""
    with memory_backend(SCHEMA) as backend:
        ctx: Any = backend.ctx()
        return getattr(ctx, f"run_{function.kind}")(function, *args, **kwargs)


def refused(function: Any, /, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ArgumentValidationError) as caught:
        call(function, *args, **kwargs)
    return str(caught.value)


@query
def echo(ctx: QueryCtx, *, text: str, limit: int = 10, level: Level = Level.LOW) -> Any:
    """Return the arguments."""
    return (text, limit, level)


# --- registration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decorate", "kind", "public"),
    [
        (query, "query", True),
        (mutation, "mutation", True),
        (action, "action", True),
        (internal_query, "query", False),
        (internal_mutation, "mutation", False),
        (internal_action, "action", False),
    ],
)
def test_six_decorators(decorate: Callable[..., Function[Any, Any]], kind: str, public: bool) -> None:
    """Each decorator makes a function of its kind, public or internal, that keeps its name and documentation."""

    @decorate
    def greet(ctx: Any, *, name: str) -> str:
        """Say hello."""
        return f"Hello {name}"

    assert (greet.kind, greet.public) == (kind, public)
    assert (greet.__name__, greet.__doc__, greet.__module__) == ("greet", "Say hello.", __name__)
    assert greet.name.endswith(":greet")
    assert repr(greet) == f"<{kind} {greet.name}>"
    assert greet.argument_types == {"name": str}
    assert call(greet, name="Ada") == "Hello Ada"


def test_called_directly() -> None:
    """A direct call without a ctx is an error that shows the code to write instead."""
    with pytest.raises(FunctionCallError, match=r"was called directly; write ctx.run_query\(echo, ...\) instead"):
        echo(None, text="a")  # type: ignore[operator]


def no_ctx() -> None: ...
def ctx_by_name(*, ctx: Any) -> None: ...
def star_args(ctx: Any, *args: int) -> None: ...
def star_kwargs(ctx: Any, **kwargs: int) -> None: ...
def positional_only(ctx: Any, name: str, /) -> None: ...
def unannotated(ctx: Any, *, name) -> None: ...  # type: ignore[no-untyped-def]
async def asynchronous(ctx: Any) -> None: ...
def type_variable(ctx: Any, *, name: T) -> T:
    return name


def unsupported(ctx: Any, *, name: complex) -> None: ...
def unsupported_result(ctx: Any) -> complex:
    return 1j


def wrong_default(ctx: Any, *, limit: int = "10") -> None: ...  # type: ignore[assignment]
def wrong_default_id(ctx: Any, *, id: Id[Item] = "x") -> None: ...  # type: ignore[assignment]
def generator(ctx: Any) -> Iterator[int]:
    yield 1


async def asynchronous_generator(ctx: Any):  # type: ignore[no-untyped-def]
    yield 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (no_ctx, "must take the ctx first"),
        (ctx_by_name, "must take the ctx first"),
        (star_args, "cannot be validated; name each argument"),
        (star_kwargs, "cannot be validated; name each argument"),
        (positional_only, "cannot be validated; name each argument"),
        (unannotated, "argument 'name' has no annotation"),
        (asynchronous, "must be a plain function: no async def, no yield"),
        (generator, "must be a plain function: no async def, no yield"),
        (asynchronous_generator, "must be a plain function: no async def, no yield"),
        (type_variable, "a type variable says nothing to check"),
        (unsupported, "values of type complex cannot be validated"),
        (unsupported_result, "values of type complex cannot be validated"),
        (wrong_default, "the default '10' is wrong: "),
        (wrong_default_id, "the default 'x' is wrong: Expected an id"),
        (functools.partial(no_ctx), "@query is put on a plain function"),
        (Item, "@query is put on a plain function"),
        (echo, "@query is put on a plain function"),
    ],
)
def test_refused_when_defined(handler: Any, message: str) -> None:
    """A function that cannot work is refused at its definition, with its place in the message."""
    with pytest.raises(RegistrationError) as caught:
        query(handler)
    assert message in str(caught.value)


def test_ctx_class_for_type_checkers_only() -> None:
    """The class of the ctx may be imported for type checkers only; it is not needed at run time."""

    def handler(ctx: "Hidden", *, name: "str") -> "str":
        return name

    assert call(query(handler), name="a") == "a"


def test_forward_reference() -> None:
    """An annotation may name a class that is defined later; it is resolved when the application is assembled."""
    later: dict[str, Any] = {"__name__": "later"}
    exec("def handler(ctx, *, size: 'LaterSize') -> 'LaterSize': return size", later)
    function = query(later["handler"])
    with pytest.raises(RegistrationError, match=r"LaterSize.*; annotations must be readable at run time"):
        call(function, size={})
    later["LaterSize"] = Size
    assert call(function, size=Size(2)) == Size(2)


def test_decorated_below() -> None:
    """A decorator below, made with functools.wraps, is called in place of the function."""

    def twice(handler: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(handler)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return handler(*args, **kwargs) * 2

        return wrapper

    @query
    @twice
    def shout(ctx: QueryCtx, *, text: str) -> str:
        return text.upper()

    assert call(shout, text="a") == "AA"
    assert "$.text" in refused(shout, text=1)


def test_id_of_a_class_outside_the_schema() -> None:
    """A function that refers to a table outside the application's schema is refused when both are assembled."""

    class Stranger(Document, table="strangers"):
        name: str

    @query
    def get(ctx: QueryCtx, *, id: Id[Stranger]) -> None: ...

    @query
    def ids(ctx: QueryCtx) -> list[Id["Stranger"]]:
        return []

    for function in (get, ids):
        with pytest.raises(RegistrationError, match=r"refers to Id\[Stranger\], which is not in the schema"):
            memory_backend(SCHEMA, [function]).__enter__()


def test_one_function_in_several_applications() -> None:
    """The same functions can belong to several applications at once."""

    @internal_mutation
    def add(ctx: MutationCtx, *, name: str) -> Id[Item]:
        return ctx.db.insert(Item(name=name))

    with memory_backend(SCHEMA, [add]) as one, memory_backend(Schema(Item), [add]) as other:
        for name in ("a", "b"):
            assert one.ctx().run_mutation(add, name=name) != other.ctx().run_mutation(add, name=name)


# --- arguments -------------------------------------------------------------------------------------------------------


def test_arguments_left_out() -> None:
    """An omitted argument has its default."""
    assert call(echo, text="a") == ("a", 10, Level.LOW)
    assert call(echo, text="a", limit=1, level=Level.HIGH) == ("a", 1, Level.HIGH)


def test_wrong_arguments() -> None:
    """A wrong, missing or unknown argument is an error with the function's name and the argument's path."""
    assert re.search(r":echo: .+ - at `\$\.text`$", refused(echo, text=1))
    assert refused(echo, text="a", limit="1").endswith("- at `$.limit`")
    assert refused(echo).endswith("Missing required field `text` - at `$.text`")
    assert refused(echo, text="a", limt=1).endswith("Unknown field `limt` - at `$.limt`")
    assert ArgumentValidationError.status == 500


def test_path_into_an_argument() -> None:
    """The path of a wrong value leads into lists, dictionaries, structs and documents."""

    @query
    def take(ctx: QueryCtx, *, sizes: dict[str, list[Size]] = {}, item: Item | None = None, ids: list[Id[Item]] = []) -> None: ...  # fmt: skip  # noqa: B006, E501

    assert "`$.sizes[...][1].width`" in refused(take, sizes={"a": [Size(1), {"width": "1"}]})
    assert "`$.sizes['a'][1].width`" in refused(take, sizes={"a": [Size(1), Size("1")]})  # type: ignore[arg-type]
    assert "`$.item.tags[0]`" in refused(take, item=Item(name="a", tags=[1]))  # type: ignore[list-item]
    assert "`$.ids[0]`" in refused(take, ids=["items_1"])


def test_arguments_by_position() -> None:
    """Arguments that the function takes by position may be passed by position; others may not."""

    @query
    def pair(ctx: QueryCtx, one: int, two: int = 2) -> list[int]:
        return [one, two]

    assert call(pair, 1) == [1, 2]
    assert call(pair, 1, two=3) == [1, 3]
    assert "argument given twice - at `$.one`" in refused(pair, 1, one=1)
    assert "arguments are given by name: one, two" in refused(pair, 1, 2, 3)
    assert "arguments are given by name: text, limit, level" in refused(echo, "a")
    assert "`$.one`" in refused(pair, "1")


def test_defaults_are_not_shared() -> None:
    """A mutable default that one call changes is unchanged in the next call."""

    @query
    def collect(ctx: QueryCtx, *, names: list[str] = ["a"], sizes: dict[str, Size] = ONE_SIZE) -> int:  # noqa: B006
        names.append("b")
        sizes["a"].width += 1
        return len(names) + sizes["a"].width

    with memory_backend(SCHEMA, [collect]) as backend:
        assert [backend.ctx().run_query(collect) for _ in range(3)] == [4, 4, 4]


def test_arguments_are_copied() -> None:
    """A function cannot change the lists and dictionaries of its caller."""

    @query
    def clear(ctx: QueryCtx, *, names: list[str]) -> None:
        names.clear()

    names = ["a"]
    call(clear, names=names)
    assert names == ["a"]


def test_unset_default() -> None:
    """UNSET as a default tells an omitted argument from None."""

    @query
    def note(ctx: QueryCtx, *, text: str | UnsetType | None = UNSET, id: Id[Item] | UnsetType = UNSET) -> str:
        return "left out" if text is UNSET else repr(text)

    assert call(note) == "left out"
    assert call(note, text=None) == "None"
    assert "`$.id`" in refused(note, id="x")


def test_no_arguments() -> None:
    """A function without arguments takes none."""

    @query
    def ping(ctx: QueryCtx) -> str:
        return "pong"

    assert call(ping) == "pong"
    assert "Unknown field `x`" in refused(ping, x=1)
    assert "arguments are given by name: none" in refused(ping, 1)


def test_arguments_named_like_internals() -> None:
    """An argument may have any name, including the names of internal parameters."""

    @query
    def odd(ctx: QueryCtx, *, self: int, function: int, args: int, kwargs: int, name: int, json: int) -> int:
        return self + function + args + kwargs + name + json

    assert call(odd, self=1, function=2, args=3, kwargs=4, name=5, json=6) == 21


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1"),
        (None, 1),
        (str, None),
        (list[int], [1, None]),
        (Id[Item], "items_1"),
        (Item | None, Item(name=1)),  # type: ignore[arg-type]
        (list[Item], [User(name="a")]),
        (datetime.datetime, datetime.datetime(2026, 1, 1)),
    ],
)
def test_wrong_result(annotation: Any, value: Any) -> None:
    """A result that does not match the annotation is an error that names the function."""

    def answer(ctx: Any) -> Any:
        return value

    answer.__annotations__["return"] = annotation
    with pytest.raises(ReturnsValidationError, match=r":answer returned a wrong value: .* - at `\$"):
        call(query(answer))


def test_result_without_annotation() -> None:
    """A result without an annotation is returned as it is."""
    marker = object()

    @query
    def answer(ctx: QueryCtx):  # type: ignore[no-untyped-def]
        return marker

    assert call(answer) is marker
