"""Names on the wire."""

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import ConvexHTTP, FunctionApi, QueryCtx, RegistrationError, internal_query, query
from flask_convex_http.function_api.names import camel, wire_message, wire_path
from flask_convex_http.function_api.surface import Surface, canonical
from flask_convex_http.functions.function import Function


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("list_items", "listItems"),
        ("listItems", "listItems"),
        ("_id", "_id"),
        ("_private_name_", "_privateName_"),
        ("a__b", "aB"),
        ("item_2_go", "item2Go"),
        ("URL_of", "URLOf"),
        ("x", "x"),
    ],
)
def test_camel(name: str, expected: str) -> None:
    """Underscores between words vanish, and those at both ends stay."""
    assert camel(name) == expected


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True))
def test_camel_twice_is_camel(name: str) -> None:
    """A name in camelCase is its own camelCase, so that no name in Python hides another one on the wire."""
    assert camel(camel(name)) == camel(name)


def test_paths_of_functions() -> None:
    """Modules and functions are camelCase."""
    assert wire_path("admin/user_items:list_all", "camel") == "admin/userItems:listAll"
    assert wire_path("admin/user_items:list_all", None) == "admin/user_items:list_all"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("items:list", "items:list"),
        ("items.js:list", "items:list"),
        ("items", "items:default"),
        ("a/b.c:d", "a/b.c:d"),
        ("", None),
        (":list", None),
        ("items:", None),
        ("/items:list", None),
        ("a//b:c", None),
        ("items:list:more", None),
        ("items: list", None),
        ("items:li\nst", None),
        ("ítems:list", None),
        ("i" * 2000, None),
    ],
)
def test_canonical_paths(path: str, expected: str | None) -> None:
    """A function is named by a path of a module and a name; `.js` and the name `default` may be left out."""
    assert canonical(path) == expected


def test_message_has_the_path_of_the_client() -> None:
    """The path in a message of a validation has the names of the wire."""
    message = "Missing required field `user_name` - at `$.the_items[0].user_name`"
    assert wire_message(message, "camel") == "Missing required field `userName` - at `$.theItems[0].userName`"
    assert wire_message(message, None) == message


@query
def get_item(ctx: QueryCtx) -> None:
    """Return nothing."""


@query
def getItem(ctx: QueryCtx) -> None:
    """Return nothing."""


@query
def twice(ctx: QueryCtx, *, item_id: str, itemId: str) -> None:
    """Return nothing."""


@pytest.mark.parametrize("functions", [[get_item, getItem], [twice]])
def test_names_that_collide(functions: list[Function[..., None]], tmp_path: object) -> None:
    """Two functions, or two arguments, that are one in camelCase are an error at start."""
    app = Flask("names", instance_path=str(tmp_path))
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    with pytest.raises(RegistrationError, match=r"are both '(testNames:getItem|itemId)' to clients"):
        ConvexHTTP(app, functions=functions, function_api=True)
    other = Flask("names", instance_path=str(tmp_path))
    other.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(other, functions=functions, function_api=FunctionApi(casing=None))


def test_names_that_no_client_can_call() -> None:
    """A public function with a name that is not ASCII is an error at start; an internal one may have it."""

    def zähle(ctx: QueryCtx) -> None:
        """Do nothing."""

    Surface([internal_query(zähle)], "camel")
    with pytest.raises(RegistrationError, match="zähle has a name that clients cannot call"):
        Surface([query(zähle)], "camel")


@pytest.mark.parametrize("given_option", ["yes", 1, {"prefix": ""}])
def test_wrong_option(given_option: object) -> None:
    """`function_api=` takes a boolean or a FunctionApi."""
    with pytest.raises(RegistrationError, match="must be True or FunctionApi"):
        ConvexHTTP(function_api=given_option)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["convex", "/convex/", "/", "/<x>", None])
def test_wrong_prefix(prefix: str) -> None:
    """A prefix is empty or a fixed path."""
    with pytest.raises(RegistrationError, match="prefix="):
        FunctionApi(prefix=prefix)


def test_wrong_casing_and_cors() -> None:
    """Other casings are refused, and so is a policy that does not say who may call."""
    with pytest.raises(RegistrationError, match="casing="):
        FunctionApi(casing="snake")  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="cors=True"):
        FunctionApi(cors=True)
