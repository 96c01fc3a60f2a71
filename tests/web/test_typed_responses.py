"""The status of a route's responses, and the values that a handler may return."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_convex_http import HttpRouter, Page
from tests.web.apps import send
from tests.web.typed import Lamp, NewLamp, app_of


@dataclass
class Box:
    """A dataclass."""

    name: str


def _nothing() -> None: ...


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        ({"a": 1}, 202, (202, '{"a":1}')),
        (NewLamp(name="Lamp"), 201, (201, '{"name":"Lamp","size":1}')),
        (Box("small"), 201, (201, '{"name":"small"}')),
        ("text", 201, (201, "text")),
        (("text", 203), 201, (203, "text")),
        (({"a": 1}, {"X-A": "1"}), 201, (201, '{"a":1}')),
        (Response("own", status=200), 201, (200, "own")),
        (None, 204, (204, "")),
        (
            Page(page=[Lamp(name="a")], is_done=True, continue_cursor="c"),
            None,
            (200, '{"page":[{"name":"a"}],"isDone":true,"continueCursor":"c"}'),
        ),
    ],
)
def test_the_status_of_a_route(tmp_path: Path, value: Any, status: int | None, expected: tuple[int, str]) -> None:
    """`status=` is the status of a value that has none of its own."""
    http = HttpRouter("http", __name__)
    handler: Callable[[], Any] = lambda: value  # noqa: E731
    http.route("/x", status=status)(handler)
    response = send(app_of(tmp_path, http), "GET", "/x")
    assert (response.status_code, response.text) == expected


def test_a_handler_that_returns_none_responds_204(tmp_path: Path) -> None:
    """A handler whose return annotation is None responds with 204 and without a body."""
    http = HttpRouter("http", __name__)
    http.delete("/x")(_nothing)
    response = send(app_of(tmp_path, http), "DELETE", "/x")
    assert (response.status_code, response.data, "Content-Type" in response.headers) == (204, b"", False)
