"""Request bodies: JSON decoded into types, their content types and encodings."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Request

from flask_convex_http import ActionCtx, HttpRouter, read_json
from tests.web.apps import deployed, send
from tests.web.posts import JSON, post


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """The body that the endpoint accepts."""

    name: str
    tags: list[int] = []


def json_router() -> HttpRouter:
    """Return a router whose endpoints read any JSON, and JSON of one type."""
    http = HttpRouter("http", __name__)

    @http.post("/any")
    def anything(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return {"got": read_json(request)}

    @http.post("/flask")
    def by_flask(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return {"got": request.get_json()}

    @http.post("/form")
    def form(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return dict(request.form)

    @http.post("/raw")
    def raw(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return {"got": gzip.decompress(request.get_data()).decode()}

    @http.post("/item")
    def item(ctx: ActionCtx, request: Request) -> Item:
        return read_json(request, Item)

    return http


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip"])
@pytest.mark.parametrize("content_type", ["application/json", "application/problem+json"])
def test_a_compressed_body_is_415(tmp_path: Path, encoding: str, content_type: str) -> None:
    """A compressed body is 415, and the response says which encoding is accepted."""
    body = gzip.compress(b"{}")
    with deployed(tmp_path, json_router()) as app:
        response = send(
            app,
            "POST",
            "/any",
            body,
            CONTENT_TYPE=content_type,
            CONTENT_LENGTH=str(len(body)),
            HTTP_CONTENT_ENCODING=encoding,
        )
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "identity"
    assert "compressed" in (response.json or {})["error"]


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/flask", "application/json", b"{}"),
        ("/form", "application/x-www-form-urlencoded", b"a=1"),
        (
            "/form",
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
        ),
    ],
)
def test_a_compressed_body_that_flask_parses_is_415(tmp_path: Path, path: str, content_type: str, body: bytes) -> None:
    """`request.get_json()` and `request.form` of a compressed body are 415 too; a form would have no fields."""
    sent = gzip.compress(body)
    environ = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(sent)), "HTTP_CONTENT_ENCODING": "gzip"}
    with deployed(tmp_path, json_router()) as app:
        response = send(app, "POST", path, sent, **environ)
        plain = post(app, path, body, content_type)
    assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "identity")
    assert plain.status_code == 200


@pytest.mark.parametrize("path", ["/any", "/flask"])
@pytest.mark.parametrize("body", [rb'{"a":"\ud83d"}', rb'{"\udc00":1}', b'["\xed\xa0\xbd"]'])
def test_a_lone_surrogate_is_400(tmp_path: Path, path: str, body: bytes) -> None:
    """JSON with a lone surrogate, which no response could repeat, is 400; a pair of them is a character."""
    with deployed(tmp_path, json_router()) as app:
        assert post(app, path, body).status_code == 400
        assert post(app, path, rb'{"a":"\ud83d\ude00"}').json == {"got": {"a": "\U0001f600"}}


def test_a_handler_may_decompress_a_body_itself(tmp_path: Path) -> None:
    """A compressed body that nothing parses reaches the handler as it is."""
    sent = gzip.compress(b"hello")
    with deployed(tmp_path, json_router()) as app:
        response = send(app, "POST", "/raw", sent, CONTENT_LENGTH=str(len(sent)), HTTP_CONTENT_ENCODING="gzip", **JSON)
    assert response.json == {"got": "hello"}


@pytest.mark.parametrize("encoding", ["", "identity", "utf-8"])
def test_a_body_without_compression_is_read(tmp_path: Path, encoding: str) -> None:
    """A body whose Content-Encoding is no compression is read."""
    with deployed(tmp_path, json_router()) as app:
        response = send(app, "POST", "/any", b"{}", CONTENT_LENGTH="2", HTTP_CONTENT_ENCODING=encoding, **JSON)
    assert (response.status_code, response.json) == (200, {"got": {}})


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/jsonx", "text/json", "multipart/form-data; boundary=x"]
)
def test_other_content_types_are_415(tmp_path: Path, content_type: str) -> None:
    """A body of another content type is 415, regardless of its content."""
    with deployed(tmp_path, json_router()) as app:
        response = post(app, "/any", b"{}", content_type)
    assert (response.status_code, response.json) == (415, {"error": "Content-Type must be application/json"})


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"]
)
def test_json_content_types(tmp_path: Path, content_type: str) -> None:
    """A JSON content type may have parameters, upper case and a `+json` suffix."""
    with deployed(tmp_path, json_router()) as app:
        assert post(app, "/any", b"[1]", content_type).json == {"got": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"{} {}",
        b"'a'",
        b"\xff",
        b'"\xff"',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"\x00",
    ],
)
def test_invalid_json_is_400(tmp_path: Path, body: bytes) -> None:
    """A body that is not JSON in UTF-8 is 400."""
    with deployed(tmp_path, json_router()) as app:
        response = post(app, "/any", body, "application/json; charset=utf-16")
        assert (response.status_code, response.json) == (400, {"error": "Invalid JSON body"})
        assert post(app, "/item", body).status_code == 400


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"1e999", b"[" * 900 + b"]" * 900])
def test_bombs_are_400(tmp_path: Path, body: bytes) -> None:
    """Nesting deeper than the stack and numbers out of range are 400."""
    with deployed(tmp_path, json_router()) as app:
        response = post(app, "/any", body)
        assert response.status_code in ((200, 400) if body.endswith(b"]") else (400,))
        assert "error" in response.get_data(as_text=True) or response.status_code == 200


def test_mismatch_is_400_with_its_path(tmp_path: Path) -> None:
    """JSON that does not match the type is 400, with the path of the mismatch."""
    with deployed(tmp_path, json_router()) as app:
        assert post(app, "/item", b'{"name": "a", "tags": [1]}').json == {"name": "a", "tags": [1]}
        for body, path in {
            b'{"name": 1}': "$.name",
            b'{"name": "a", "tags": [1, "2"]}': "$.tags[1]",
            b'{"name": "a", "more": 1}': "more",
            b"{}": "name",
            b"[]": "array",
            b'{"name": "a", "tags": [%d]}' % 10**30: "$.tags[0]",
        }.items():
            response = post(app, "/item", body)
            assert response.status_code == 400
            assert path in (response.json or {})["error"], body


def test_duplicate_keys_and_large_integers(tmp_path: Path) -> None:
    """Of a duplicate key the last value counts, and integers of any size are decoded exactly."""
    with deployed(tmp_path, json_router()) as app:
        assert post(app, "/any", b'{"a": 1, "a": 2}').json == {"got": {"a": 2}}
        assert post(app, "/any", b"%d" % 10**40).json == {"got": 10**40}


@pytest.mark.parametrize("query", ["q=\xff", "\x80", "q=%ff", "q=\xc3\xa9", "q=%C3%A9", "q=a%00b&q=\xff&=&&"])
def test_query_in_any_bytes_is_no_error(tmp_path: Path, query: str) -> None:
    """A query string that is not UTF-8 can be read, and UTF-8 is decoded, escaped or not."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    def x(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"q": request.args.get("q", ""), "url": request.url, "path": request.full_path}

    with deployed(tmp_path, http) as app:
        response = send(app, "GET", "/x", QUERY_STRING=query)
    assert response.status_code == 200
    if query in ("q=\xc3\xa9", "q=%C3%A9"):
        assert (response.json or {})["q"] == "é"
