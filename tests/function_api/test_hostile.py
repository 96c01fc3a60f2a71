"""Hostile requests to the function API: no input causes a 5xx."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.function_api.shop import shop
from tests.lengths import examples
from tests.web.apps import send, send_chunked

PATHS = ["query", "mutation", "action", "run/shop/echo", "run/x", "run/", "function", "query_batch", "query_at_ts"]


@pytest.fixture(name="app", scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    with shop(tmp_path_factory.mktemp("shop"), CONVEX_MAX_JSON_BYTES=50_000) as app:
        yield app


def sent(app: Flask, path: str, body: bytes, content_type: str = "application/json", **environ: Any) -> tuple[int, Any]:
    """Return the status and the code of the response to a POST."""
    length = str(len(body))
    response = send(app, "POST", f"/api/{path}", body, CONTENT_TYPE=content_type, CONTENT_LENGTH=length, **environ)
    return response.status_code, (response.get_json(silent=True) or {}).get("code")


BODIES = [
    b"",
    b"null",
    b"{",
    b'"\xff"',
    b'{"path":"\\ud800","args":{}}',
    b'{"path":"shop:echo","args":{"value":"\\ud800"}}',
    b'{"path":"shop:echo","args":{"value":NaN}}',
    b'{"path":"shop:echo","args":{"value":1e400}}',
    b'{"path":"shop:echo","args":{"value":' + b"[" * 80 + b"]" * 80 + b"}}",
    b"[" * 40_000,
    b'{"path":"shop:echo","args":{"value":"' + b"x" * 60_000 + b'"}}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_refused(app: Flask, body: bytes) -> None:
    """A body that is not JSON, is nested too deeply or is too large is 400 with a code."""
    assert sent(app, "query", body) == (400, "BadJsonBody")


def test_other_content_types(app: Flask) -> None:
    """A body that is not announced as JSON, or is compressed, is 400; every JSON media type is accepted."""
    body = b'{"path":"shop:echo","args":{"value":1}}'
    assert sent(app, "query", body, "text/plain") == (400, "BadJsonBody")
    assert sent(app, "query", body, "") == (400, "BadJsonBody")
    assert sent(app, "query", body, HTTP_CONTENT_ENCODING="gzip") == (400, "BadJsonBody")
    assert sent(app, "query", body, "application/vnd.x+json; charset=utf-8") == (200, None)


def test_chunked_and_short_bodies(app: Flask) -> None:
    """The limit holds for chunked bodies, and a body that is shorter than announced is 400."""
    large = b'{"path":"shop:echo","args":{"value":"' + b"x" * 60_000 + b'"}}'
    assert send_chunked(app, "/api/query", large, CONTENT_TYPE="application/json").status_code == 400
    short = send(app, "POST", "/api/query", b"{", CONTENT_TYPE="application/json", CONTENT_LENGTH="100")
    assert short.status_code == 400


def test_limit_of_flask(tmp_path: Path) -> None:
    """A body over Flask's MAX_CONTENT_LENGTH is 400, as one over the limit of JSON."""
    with shop(tmp_path, MAX_CONTENT_LENGTH=50) as app:
        assert sent(app, "query", b'{"path":"shop:echo","args":{"value":"' + b"x" * 50 + b'"}}') == (400, "BadJsonBody")
        assert sent(app, "query", b'{"path":"shop:whoAmI","args":{}}') == (200, None)


def test_large_number(app: Flask) -> None:
    """A number that no float holds is an error of the function's arguments."""
    body = b'{"path":"shop:echo","args":{"value":1' + b"0" * 4000 + b"}}"
    response = send(app, "POST", "/api/query", body, CONTENT_TYPE="application/json", CONTENT_LENGTH=str(len(body)))
    assert (response.status_code, "out of range" in response.text) == (200, True)


def test_wrong_methods(app: Flask) -> None:
    """Another method is 405, and HEAD and OPTIONS work."""
    for path in ("mutation", "function", "run/shop/echo"):
        assert send(app, "GET", f"/api/{path}").status_code == 405
        assert send(app, "OPTIONS", f"/api/{path}").status_code == 204
    assert send(app, "HEAD", "/version").status_code == 200
    assert send(app, "POST", "/api/nothing").status_code == 404


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$integer", "$bytes", "value", "maxItems", "numItems", "a"]), inner)
    ),
    max_leaves=8,
)
names = st.sampled_from(["echo", "listItems", "listPages", "listPaged", "createItem", "importItems", "whoAmI", "nope"])
bodies = st.fixed_dictionaries(
    {},
    optional={
        "path": names.map("shop:{}".format) | st.text(max_size=10) | values,
        "args": st.dictionaries(
            st.sampled_from(["value", "maxItems", "paginationOpts", "numItems", "cursor", "name", "names"]), values
        )
        | values,
        "format": st.sampled_from(["json", "convex_encoded_json", None, "x"]) | values,
        "queries": st.lists(values, max_size=2),
        "ts": st.text(max_size=12) | values,
        "componentPath": values,
    },
)


@settings(max_examples=examples(500), deadline=None)
@given(path=st.sampled_from(PATHS), body=bodies, header=st.none() | st.text(max_size=20))
def test_any_json(app: Flask, path: str, body: Any, header: str | None) -> None:
    """Any JSON body with any Authorization header has a response below 500."""
    more = {} if header is None else {"HTTP_AUTHORIZATION": header.encode().decode("latin-1")}
    assert sent(app, path, json.dumps(body).encode(), **more)[0] < 500


@settings(max_examples=examples(200), deadline=None)
@given(query=st.binary(max_size=40))
def test_any_query_string(app: Flask, query: bytes) -> None:
    """Any query string of a GET has a response below 500."""
    raw = "path=shop:echo&args=" + query.decode("latin-1")
    assert send(app, "GET", "/api/query", QUERY_STRING=raw).status_code < 500
