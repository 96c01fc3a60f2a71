"""Results and errors of functions that JSON cannot hold."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import ConvexError, DocumentNotFoundError, QueryCtx, query
from flask_convex_http.function_api.surface import _canonical, canonical
from tests.function_api.shop import call, post, shop


class BlueprintMissingError(DocumentNotFoundError):
    """An error of the application that extends one of the package."""


def nested(levels: int) -> Any:
    """Return lists in lists."""
    value: Any = "leaf"
    for _ in range(levels):
        value = [value]
    return value


RESULTS = {
    "text": "\ud800",
    "key": {"\udfff": 1.0},
    "list": ["é", "caf\udce9"],
    "depth": nested(5000),
}
DATA = {**RESULTS, "object": {"a": object()}, "large": {"a": 2**70}}


@query
def result(ctx: QueryCtx, *, which: str) -> Any:
    """Return a value that clients cannot receive, or the argument."""
    return RESULTS.get(which, which)


@query
def fail(ctx: QueryCtx, *, which: str) -> None:
    """Raise an error with such data."""
    raise ConvexError(DATA[which])


@query
def fail_with_text(ctx: QueryCtx) -> None:
    """Raise an error with such a message."""
    raise ConvexError("the file caf\udce9")


@query
def fail_as_missing(ctx: QueryCtx) -> None:
    """Raise an error of a class of the application."""
    raise BlueprintMissingError("No such thing")


@pytest.fixture(name="app", scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    functions = [result, fail, fail_with_text, fail_as_missing]
    with shop(tmp_path_factory.mktemp("shop"), functions=functions) as app:
        yield app


@pytest.mark.parametrize("form", ["json", "convex_encoded_json"])
@pytest.mark.parametrize("which", RESULTS)
def test_results(app: Flask, which: str, form: str) -> None:
    """A result that JSON cannot hold is an error of the function, with status 200."""
    error = call(app, "query", "test_hostile_results:result", {"which": which}, form=form)
    assert error["status"] == "error"
    assert error["errorMessage"].endswith("Server Error")


@pytest.mark.parametrize("which", DATA)
def test_data_of_errors(app: Flask, which: str) -> None:
    """An application error whose data JSON cannot hold has null instead."""
    error = call(app, "query", "test_hostile_results:fail", {"which": which})
    assert "Uncaught ConvexError" in error["errorMessage"]
    assert error.get("errorData") is None


def test_message_of_an_error(app: Flask) -> None:
    """A message with half of a surrogate pair has a question mark in its place."""
    assert "the file caf?" in call(app, "query", "test_hostile_results:fail_with_text")["errorMessage"]


def test_batch(app: Flask) -> None:
    """One such result in a batch does not hide the others."""
    queries = [{"path": "test_hostile_results:result", "args": {"which": which}} for which in ("text", "plain")]
    response = post(app, "/api/query_batch", {"queries": queries})
    assert [each["status"] for each in response.get_json()["results"]] == ["error", "success"]


def test_classes_of_the_application(app: Flask) -> None:
    """A client sees the name of the package's error, not that of the application's class."""
    message = call(app, "query", "test_hostile_results:fail_as_missing")["errorMessage"]
    assert "Uncaught DocumentNotFoundError: " in message


def test_long_paths_are_not_kept() -> None:
    """The cache of names keeps none of the long texts that clients send as names."""
    before = _canonical.cache_info().currsize
    assert [canonical(f"{index}{'x' * 2000}") for index in range(10)] == [None] * 10
    assert _canonical.cache_info().currsize == before
