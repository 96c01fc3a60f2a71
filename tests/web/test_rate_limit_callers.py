"""`@rate_limit`: the bucket of a request, by identity, by address or by the application's own key."""

from pathlib import Path

import pytest
from flask import Flask, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import ActionCtx, HttpRouter, require_api_key
from flask_convex_http.testing import Clock
from flask_convex_http.web.guards.rate_limit import rate_limit
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of, deployed
from tests.web.limits import MINUTE, count_allowed, from_address, limited_app, new_handler, status


def test_callers_without_identity_differ_by_address(tmp_path: Path) -> None:
    """Without an identity each address has its own bucket."""
    with limited_app(tmp_path, rate=2) as app:
        assert count_allowed(app, **from_address("192.0.2.1")) == 2
        assert count_allowed(app, **from_address("192.0.2.2")) == 2
        assert count_allowed(app, **from_address("192.0.2.1")) == 0


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
    """Addresses of one IPv6 /64 network share a bucket, and an IPv4-mapped address is the IPv4 address."""
    with limited_app(tmp_path) as app:
        assert status(app, **from_address(address)) == 200
        assert status(app, **from_address(same)) == 429
        assert status(app, **from_address(other)) == 200


@pytest.mark.parametrize(
    "address", [None, "", "unix:", "localhost", "192.0.2.01", "1.2.3.4.5", "9" * 100_000, ":" * 1000, "\x00", "\xff"]
)
def test_odd_addresses(tmp_path: Path, address: str | None) -> None:
    """Any text that a server or a proxy sets as the address, or none, has a bucket."""
    with limited_app(tmp_path) as app:
        assert count_allowed(app, **from_address(address)) == 1
        assert count_allowed(app, **from_address("192.0.2.1")) == 1


def new_key(app: Flask) -> str:
    """Create an API key."""
    return backend_of(app).api_keys.create(name="me")[0]


def test_limit_below_a_check_is_per_identity(tmp_path: Path) -> None:
    """Below `@require_api_key` each identity has its bucket, at any address, and a rejected key takes no token."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    @require_api_key
    @rate_limit(rate=2, period=MINUTE)
    def handler(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with deployed(tmp_path, http, clock=Clock()) as app:
        one, other = new_key(app), new_key(app)
        assert [status(app), status(app, HTTP_X_API_KEY="nonsense"), status(app)] == [401, 403, 401]
        assert count_allowed(app, HTTP_X_API_KEY=one, **from_address("192.0.2.1")) == 2
        assert count_allowed(app, HTTP_X_API_KEY=one, **from_address("192.0.2.2")) == 0
        assert count_allowed(app, HTTP_X_API_KEY=other, **from_address("192.0.2.1")) == 2
        assert status(app) == 401


def test_limit_above_a_check_is_per_address(tmp_path: Path) -> None:
    """Above `@require_api_key` the address has the bucket, and wrong keys take tokens, so that guessing is limited."""
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
    """A forged address cannot use up the tokens of an identity."""
    http = HttpRouter("http", __name__)
    http.get("/open", endpoint="open")(rate_limit(rate=1, period=MINUTE, name="both")(new_handler()))
    http.get("/key", endpoint="key")(require_api_key(rate_limit(rate=1, period=MINUTE, name="both")(new_handler())))
    with deployed(tmp_path, http, clock=Clock()) as app:
        key = new_key(app)
        (stored,) = backend_of(app).api_keys.all()
        for address in (f"api_key|{stored.id}", f"identity:api_key|{stored.id}"):
            assert status(app, "/open", **from_address(address)) == 200
        assert status(app, "/key", HTTP_X_API_KEY=key) == 200


def test_custom_key(tmp_path: Path) -> None:
    """The bucket may be chosen by key=, a function of the request: "" has a bucket too, and None is not limited."""
    with limited_app(tmp_path, key=lambda request: request.args.get("user")) as app:
        assert count_allowed(app, QUERY_STRING="user=ada") == 1
        assert count_allowed(app, QUERY_STRING="user=ada", **from_address("192.0.2.9")) == 0
        assert count_allowed(app, QUERY_STRING="user=bob") == 1
        assert count_allowed(app, QUERY_STRING="user=") == 1
        assert count_allowed(app) == 50


def test_key_that_is_not_text_is_500(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is not text is a mistake of the application; the log has the name of the limit."""
    http = HttpRouter("http", __name__)
    http.post("/x")(rate_limit(rate=1, period=MINUTE, key=lambda request: request.get_json())(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        for body in (b"17", b"[]", b'{"a": 1}', b"true"):
            response = app.test_client().post("/x", data=body, content_type="application/json")
            assert response.status_code == 500
        assert "Rate limit http.ok: the key must be text" in caplog.text
        for body in (b'"ada"', b'"\\u0000"', b'"' + b"x" * 1_000_000 + b'"'):
            responses = [app.test_client().post("/x", data=body, content_type="application/json") for _ in range(2)]
            assert [response.status_code for response in responses] == [200, 429]


@SAMPLED
def test_no_key_causes_a_server_error(tmp_path: Path) -> None:
    """No key causes a server error."""
    seen: set[str] = set()
    with limited_app(tmp_path, key=lambda request: request.headers.get("X-User", "")) as app:

        @given(value=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=400))
        @settings(max_examples=examples(50), deadline=None)
        def check(value: str) -> None:
            assert status(app, HTTP_X_USER=value) == (429 if value in seen else 200)
            seen.add(value)

        check()
