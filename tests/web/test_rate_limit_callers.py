"""`@rate_limit`: whose bucket a request takes from, whatever its address or the key the app makes of it."""

from pathlib import Path

import pytest
from flask import Flask, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import ActionCtx, HttpRouter, require_api_key
from flask_convex_http.testing import Clock
from flask_convex_http.web.rate_limit import rate_limit
from tests.web.apps import backend_of, deployed
from tests.web.limits import MINUTE, from_address, limited, new_handler, passed, status


def test_callers_without_identity_are_told_apart_by_address(tmp_path: Path) -> None:
    """Without an identity each address has a bucket of its own."""
    with limited(tmp_path, rate=2) as app:
        assert passed(app, **from_address("192.0.2.1")) == 2
        assert passed(app, **from_address("192.0.2.2")) == 2
        assert passed(app, **from_address("192.0.2.1")) == 0


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8:0:1::1"),
        ("2001:DB8::1", "2001:db8::2", "2001:db9::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe80:0:0:1::1%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_ipv6_networks_share_a_bucket(tmp_path: Path, address: str, same: str, other: str) -> None:
    """Addresses of one IPv6 network have one bucket; IPv4 addresses in IPv6 notation are those IPv4 addresses."""
    with limited(tmp_path) as app:
        assert status(app, **from_address(address)) == 200
        assert status(app, **from_address(same)) == 429
        assert status(app, **from_address(other)) == 200


@pytest.mark.parametrize(
    "address", [None, "", "unix:", "localhost", "192.0.2.01", "1.2.3.4.5", "9" * 100_000, ":" * 1000, "\x00", "\xff"]
)
def test_odd_addresses(tmp_path: Path, address: str | None) -> None:
    """Whatever a server or a proxy gives as the address, or nothing, is somebody with a bucket."""
    with limited(tmp_path) as app:
        assert passed(app, **from_address(address)) == 1
        assert passed(app, **from_address("192.0.2.1")) == 1


def new_key(app: Flask) -> str:
    """An API key."""
    return backend_of(app).api_keys.create(name="me")[0]


def test_below_a_check_the_identity_counts(tmp_path: Path) -> None:
    """Below `@require_api_key` each identity has its bucket, wherever it calls from; who is refused takes no token."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    @require_api_key
    @rate_limit(rate=2, period=MINUTE)
    def handler(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with deployed(tmp_path, http, clock=Clock()) as app:
        one, other = new_key(app), new_key(app)
        assert [status(app), status(app, HTTP_X_API_KEY="nonsense"), status(app)] == [401, 403, 401]
        assert passed(app, HTTP_X_API_KEY=one, **from_address("192.0.2.1")) == 2
        assert passed(app, HTTP_X_API_KEY=one, **from_address("192.0.2.2")) == 0
        assert passed(app, HTTP_X_API_KEY=other, **from_address("192.0.2.1")) == 2
        assert status(app) == 401


def test_above_a_check_everybody_counts(tmp_path: Path) -> None:
    """Above `@require_api_key` the address counts, and wrong keys take tokens, so that guessing is limited."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    @rate_limit(rate=3, period=MINUTE)
    @require_api_key
    def handler(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with deployed(tmp_path, http, clock=Clock()) as app:
        key = new_key(app)
        assert [status(app), status(app, HTTP_X_API_KEY="nonsense")] == [401, 403]
        assert [status(app, HTTP_X_API_KEY=key) for _ in range(2)] == [200, 429]
        assert status(app) == 429


def test_address_is_never_an_identity(tmp_path: Path) -> None:
    """An address that a proxy made up cannot use up the tokens of somebody with an identity."""
    http = HttpRouter("http", __name__)
    http.get("/open", endpoint="open")(rate_limit(rate=1, period=MINUTE, name="both")(new_handler()))
    http.get("/key", endpoint="key")(require_api_key(rate_limit(rate=1, period=MINUTE, name="both")(new_handler())))
    with deployed(tmp_path, http, clock=Clock()) as app:
        key = new_key(app)
        (stored,) = backend_of(app).api_keys.all()
        for address in (f"api_key|{stored.id}", f"identity:api_key|{stored.id}"):
            assert status(app, "/open", **from_address(address)) == 200
        assert status(app, "/key", HTTP_X_API_KEY=key) == 200


def test_key_of_ones_own(tmp_path: Path) -> None:
    """A function of the request says whose bucket it is; the empty text is somebody, None is not limited."""
    with limited(tmp_path, key=lambda request: request.args.get("user")) as app:
        assert passed(app, QUERY_STRING="user=ada") == 1
        assert passed(app, QUERY_STRING="user=ada", **from_address("192.0.2.9")) == 0
        assert passed(app, QUERY_STRING="user=bob") == 1
        assert passed(app, QUERY_STRING="user=") == 1
        assert passed(app) == 50


def test_key_that_is_no_text_is_a_bad_request(tmp_path: Path) -> None:
    """A key that came as something else from outside, such as a number in JSON, is answered 400."""
    http = HttpRouter("http", __name__)
    http.post("/x")(rate_limit(rate=1, period=MINUTE, key=lambda request: request.get_json())(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        for body in (b"17", b"[]", b'{"a": 1}', b"true"):
            refused = app.test_client().post("/x", data=body, content_type="application/json")
            assert refused.status_code == 400
            assert "the key must be text" in refused.text
        for body in (b'"ada"', b'"\\ud800"', b'"\\u0000"', b'"' + b"x" * 1_000_000 + b'"'):
            answers = [app.test_client().post("/x", data=body, content_type="application/json") for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 429]


def test_no_key_gives_a_server_error(tmp_path: Path) -> None:
    """Whatever is sent, the answer is the handler's or a refusal."""
    seen: set[str] = set()
    with limited(tmp_path, key=lambda request: request.headers.get("X-User", "")) as app:

        @given(value=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=400))
        @settings(max_examples=50, deadline=None)
        def check(value: str) -> None:
            assert status(app, HTTP_X_USER=value) == (429 if value in seen else 200)
            seen.add(value)

        check()
