"""Typed bodies: JSON converted to the annotation of a handler's `body`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Request

from flask_convex_http import ActionCtx, HttpRouter, Id, read_json
from tests.web.apps import send, send_chunked
from tests.web.typed import Keys, Lamp, NewLamp, app_of, post


def test_a_body_is_converted(tmp_path: Path) -> None:
    """A JSON body reaches the handler as its type, and the route's status is that of the response."""
    http = HttpRouter("http", __name__)

    @http.post("/lamps", status=201)
    def create_lamp(ctx: ActionCtx, request: Request, body: NewLamp) -> NewLamp:
        assert isinstance(body, NewLamp)
        return body

    response = post(app_of(tmp_path, http), "/lamps", b'{"name":"Desk lamp"}')
    assert (response.status_code, response.json) == (201, {"name": "Desk lamp", "size": 1})


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (b'{"name":"","size":1}', 400, "$.name"),
        (b'{"name":"Lamp","size":"1"}', 400, "$.size"),
        (b'{"name":"Lamp","colour":1}', 400, "$.colour"),
        (b"{}", 400, "$.name"),
        (b"[1]", 400, "Expected `object`"),
        (b"{", 400, "Invalid JSON body"),
        (b"", 400, "Invalid JSON body"),
        (b'{"name":"\\ud800"}', 400, "Invalid JSON body"),
        (b'{"name":"' + b"x" * 200 + b'"}', 413, "larger than 100 bytes"),
    ],
)
def test_a_body_that_does_not_match(tmp_path: Path, text: bytes, status: int, message: str) -> None:
    """A body that does not match is 400 with the path of the field, and one over the limit is 413."""
    http = HttpRouter("http", __name__, max_body_bytes=100)
    http.post("/typed")(_takes_lamp)
    response = post(app_of(tmp_path, http), "/typed", text)
    assert response.status_code == status
    assert message in (response.json or {})["error"]
    assert "NewLamp" not in response.text


class Owned(msgspec.Struct, rename="camel"):
    """A body with an id, whose fields have other names in JSON."""

    lamp_id: Id[Lamp]


def test_the_path_of_an_id_has_the_name_of_the_json(tmp_path: Path) -> None:
    """The path of an id that does not match has the field's name in JSON."""
    http = HttpRouter("http", __name__)

    @http.post("/owned")
    def take(body: Owned) -> Owned:
        return body

    response = post(app_of(tmp_path, http), "/owned", b'{"lampId":"desks_1"}')
    assert (response.status_code, response.json) == (400, {"error": "Expected a valid id - at `$.lampId`"})


def _takes_lamp(body: NewLamp) -> NewLamp:
    return body


def test_a_body_of_another_content_type_is_415(tmp_path: Path) -> None:
    """A typed body is JSON, compressed ones are refused, and a chunked one is read."""
    http = HttpRouter("http", __name__)
    http.post("/lamps")(_takes_lamp)
    text = b'{"name":"Lamp"}'
    app = app_of(tmp_path, http)
    assert post(app, "/lamps", text, "text/plain").status_code == 415
    assert post(app, "/lamps", text, HTTP_CONTENT_ENCODING="gzip").status_code == 415
    chunked = send_chunked(app, "/lamps", text, CONTENT_TYPE="application/json")
    assert (chunked.status_code, chunked.json) == (200, {"name": "Lamp", "size": 1})


def test_text_plain_when_asked(tmp_path: Path) -> None:
    """`content_types=` of a route or of read_json accepts further content types for that route only."""
    http = HttpRouter("http", __name__)
    http.post("/beacon", content_types=["Text/Plain"])(_takes_lamp)

    @http.post("/by-hand")
    def by_hand(request: Request) -> NewLamp:
        return read_json(request, NewLamp, content_types=["text/plain"])

    @http.post("/json-only")
    def json_only(request: Request) -> NewLamp:
        return read_json(request, NewLamp)

    app = app_of(tmp_path, http)
    statuses = [
        post(app, path, b'{"name":"Lamp"}', "text/plain;charset=UTF-8").status_code
        for path in ("/beacon", "/by-hand", "/json-only")
    ]
    assert post(app, "/beacon", b'{"name":"Lamp"}', "text/html").status_code == 415
    assert statuses == [200, 200, 415]


@dataclass
class Box:
    """A body and a response of a dataclass."""

    name: str
    sizes: list[int]


class Circle(msgspec.Struct, tag="circle"):
    """A member of a union."""

    radius: float


class Square(msgspec.Struct, tag="square"):
    """Another one."""

    side: float


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Keys, b'{"name":"Lamp","size":2}'),
        (Box, b'{"name":"Lamp","sizes":[1,2]}'),
        (dict[str, int], b'{"a":1}'),
        (dict, b'{"a":1}'),
        (list[NewLamp], b'[{"name":"Lamp","size":1}]'),
        (Circle | Square, b'{"type":"square","side":2.0}'),
        (Any, b'{"a":[1,null]}'),
        (NewLamp | None, b'{"name":"Lamp","size":1}'),
    ],
)
def test_types_of_bodies(tmp_path: Path, annotation: Any, text: bytes) -> None:
    """A body may have any type that a function's argument may have, and any of them may be returned."""
    http = HttpRouter("http", __name__)

    def handler(body: Any) -> Any:
        return body

    handler.__annotations__["body"] = annotation
    http.post("/x")(handler)
    response = post(app_of(tmp_path, http), "/x", text)
    assert (response.status_code, response.data) == (200, text)


def test_defaults_of_body_and_query(tmp_path: Path) -> None:
    """A request without a body or a query string takes the default of the parameter, if it has one."""
    http = HttpRouter("http", __name__)

    @http.post("/x")
    def x(body: NewLamp | None = None, query: Keys = Keys(name="none")) -> dict[str, Any]:  # noqa: B008
        return {"body": body, "query": query}

    app = app_of(tmp_path, http)
    assert send(app, "POST", "/x").json == {"body": None, "query": {"name": "none"}}
    response = post(app, "/x", b'{"name":"a"}', QUERY_STRING="name=b")
    assert response.json == {"body": {"name": "a", "size": 1}, "query": {"name": "b"}}
