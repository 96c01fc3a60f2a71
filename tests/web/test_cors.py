"""CORS: the origins that a policy allows, the responses that carry its headers, and the policies that are rejected."""

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, abort
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    Cors,
    HttpRouter,
    RegistrationError,
    json_errors,
    read_json,
    require_api_key,
)
from tests.lengths import SAMPLED, examples
from tests.web.apps import deployed, send

SITE = "https://example.com"
EVIL = "https://example.com.evil.net"
ALLOWED = "Access-Control-Allow-Origin"


def ok(ctx: ActionCtx, request: Request, **values: Any) -> str:
    """Return "ok"."""
    return "ok"


def send_from(app: Flask, method: str, path: str, origin: str | None = SITE, **environ: Any) -> TestResponse:
    """Send a request with this Origin header."""
    return send(app, method, path, **({} if origin is None else {"HTTP_ORIGIN": origin}), **environ)


def preflight(app: Flask, path: str, method: str = "GET", origin: str = SITE, headers: str = "") -> TestResponse:
    """Send a browser's preflight request."""
    request = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": method, "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": headers}
    return send_from(app, "OPTIONS", path, origin, **{key: value for key, value in request.items() if value})


def allows(folder: Path, cors: Any, *origins: str) -> list[bool]:
    """Return which of these origins a policy allows, and check that preflights agree."""
    http = HttpRouter("http", __name__)
    http.get("/x", cors=cors)(ok)
    with deployed(folder, http) as app:
        headers = [send_from(app, "GET", "/x", origin).headers.get(ALLOWED) for origin in origins]
        preflights = [preflight(app, "/x", origin=origin).headers.get(ALLOWED) for origin in origins]
    assert headers == preflights
    assert all(header in (None, "*", origin) for header, origin in zip(headers, origins, strict=True))
    return [header is not None for header in headers]


def test_preflight_of_exact_and_prefix_routes(tmp_path: Path) -> None:
    """A preflight is 204 with the methods of the path and the headers that the browser asked for."""
    http = HttpRouter("http", __name__, url_prefix="/v1")
    http.get("/x", cors="*")(ok)
    http.post("/x", cors="*", endpoint="post")(ok)
    http.put(path_prefix="/below/", cors="*", endpoint="put")(ok)
    with deployed(tmp_path, http) as app:
        response = preflight(app, "/v1/x", "POST", headers="content-type, x-mine")
        assert (response.status_code, response.data, response.headers[ALLOWED]) == (204, b"", "*")
        assert set(response.headers["Access-Control-Allow-Methods"].split(", ")) == {"GET", "POST"}
        assert set(response.headers["Access-Control-Allow-Headers"].split(", ")) == {"content-type", "x-mine"}
        assert int(response.headers["Access-Control-Max-Age"]) == 7200
        assert "Content-Type" not in response.headers
        below = preflight(app, "/v1/below/a/b", "PUT")
        assert below.headers["Access-Control-Allow-Methods"] == "PUT"
        assert send(app, "OPTIONS", "/v1/x").status_code == 204


def test_preflight_comes_before_auth(tmp_path: Path) -> None:
    """A preflight carries no credentials and passes without any."""
    http = HttpRouter("http", __name__)
    http.get("/x", cors=SITE)(require_api_key(lambda ctx, request: "ok"))
    with deployed(tmp_path, http) as app:
        assert preflight(app, "/x").status_code == 204
        rejected = send_from(app, "GET", "/x")
    assert (rejected.status_code, rejected.headers[ALLOWED]) == (401, SITE)


def test_policies_differ_by_method(tmp_path: Path) -> None:
    """Each method of a path has its own policy, for responses and for preflights."""
    http = HttpRouter("http", __name__)
    http.get("/x", cors="*")(ok)
    http.post("/x", cors=SITE, endpoint="post")(ok)
    http.put("/x", endpoint="put")(ok)
    other = "https://other.example"
    with deployed(tmp_path, http) as app:
        assert send_from(app, "GET", "/x", other).headers[ALLOWED] == "*"
        assert ALLOWED not in send_from(app, "POST", "/x", other).headers
        assert send_from(app, "POST", "/x").headers[ALLOWED] == SITE
        assert ALLOWED not in send_from(app, "PUT", "/x").headers
        assert preflight(app, "/x", "GET", other).headers[ALLOWED] == "*"
        assert ALLOWED not in preflight(app, "/x", "POST", other).headers
        assert preflight(app, "/x", "POST").headers["Access-Control-Allow-Methods"] == "POST"


def test_headers_on_every_status(tmp_path: Path) -> None:
    """Error responses carry the CORS headers too, so that a page can read them."""
    http = HttpRouter("http", __name__, cors=[SITE], max_body_bytes=10)

    @http.post("/x")
    def x(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return {"got": read_json(request)}

    @http.get("/status/<int:code>")
    def status(ctx: ActionCtx, request: Request, code: int) -> str:
        abort(code)

    @http.get(path_prefix="/fail/")
    def fail(ctx: ActionCtx, request: Request) -> str:
        raise ValueError

    json_body = {"CONTENT_TYPE": "application/json"}
    for with_json in (False, True):
        with deployed(tmp_path, http) as app:
            if with_json:
                json_errors(app)
            responses = {
                200: send(app, "POST", "/x", b"[1]", HTTP_ORIGIN=SITE, CONTENT_LENGTH="3", **json_body),
                400: send(app, "POST", "/x", b"[1", HTTP_ORIGIN=SITE, CONTENT_LENGTH="2", **json_body),
                401: send_from(app, "GET", "/status/401"),
                403: send_from(app, "GET", "/status/403"),
                404: send_from(app, "GET", "/status/404"),
                405: send_from(app, "DELETE", "/x"),
                413: send(app, "POST", "/x", b"1" * 99, HTTP_ORIGIN=SITE, CONTENT_LENGTH="99", **json_body),
                415: send(app, "POST", "/x", b"1", HTTP_ORIGIN=SITE, CONTENT_LENGTH="1"),
                500: send_from(app, "GET", "/fail/a"),
            }
            below = send_from(app, "POST", "/fail/a")
        for code, response in {**responses, 405: below}.items():
            assert (response.status_code, response.headers.get(ALLOWED)) == (code, SITE)
            assert "Origin" in response.headers["Vary"]
        assert (responses[405].status_code, responses[405].headers[ALLOWED]) == (405, SITE)


def test_vary_is_added_to_the_handlers_own(tmp_path: Path) -> None:
    """A handler's own Vary stays beside Origin, also for a single origin and without an Origin header."""
    http = HttpRouter("http", __name__)

    @http.get("/x", cors=SITE)
    def x(ctx: ActionCtx, request: Request) -> tuple[str, dict[str, str]]:
        return "x", {"Vary": "Accept"}

    with deployed(tmp_path, http) as app:
        for origin in (SITE, EVIL, None):
            vary = send_from(app, "GET", "/x", origin).headers.getlist("Vary")
            assert {name.strip() for line in vary for name in line.split(",")} == {"Accept", "Origin"}


def test_lists_and_patterns_of_origins(tmp_path: Path) -> None:
    """A policy may name one origin, several, a regular expression, or all subdomains."""
    deep, other = "https://a.b.example.com", "http://localhost:3000"
    origins = (SITE, deep, other, EVIL, "https://a.example.com.evil.net", "null")
    assert allows(tmp_path, SITE, *origins) == [True, False, False, False, False, False]
    assert allows(tmp_path, [SITE, other], *origins) == [True, False, True, False, False, False]
    assert allows(tmp_path, r"https://([a-z.]+\.)?example\.com\Z", *origins) == [True, True, False, False, False, False]
    pattern = re.compile(r"https://[a-z.]+\.example\.com\Z")
    assert allows(tmp_path, Cors([pattern, other]), *origins) == [False, True, True, False, False, False]
    assert allows(tmp_path, "https://*.example.com", *origins) == [False, True, False, False, False, False]
    assert allows(tmp_path, "*", *origins) == [True] * 6
    assert allows(tmp_path, Cors(["null"]), *origins) == [False, False, False, False, False, True]


def test_subdomains_are_whole_labels(tmp_path: Path) -> None:
    """`https://*.example.com` allows subdomains of any depth, by https, on the default port."""
    origins = ["https://a.example.com", "https://A.EXAMPLE.com", "https://a-1.b.example.com"]
    rejected = [
        "http://a.example.com",
        "https://example.com",
        "https://evilexample.com",
        "https://a.example.com:8443",
        "https://a.exampleXcom",
        "https://evil.net/.example.com",
        "https://evil.net?.example.com",
        "https://evil.net#a.example.com",
        "https://u@a.example.com",
        "https://.example.com",
        "https://a.example.com.",
        "xhttps://a.example.com",
    ]
    assert allows(tmp_path, "https://*.example.com", *origins, *rejected) == [True] * 3 + [False] * len(rejected)
    assert allows(tmp_path, "https://*.example.com:8443", "https://a.example.com:8443", *origins[:1]) == [True, False]


def test_every_alternative_of_a_pattern_is_anchored(tmp_path: Path) -> None:
    """The anchor at the end of a pattern `a|b` applies to both alternatives."""
    for pattern in (
        r"https://a\.example\.com|https://b\.example\.com\Z",
        r"(?i)https://a\.example\.com|https://b\.example\.com$",
    ):
        origins = ("https://a.example.com", "https://b.example.com", "https://a.example.com.evil.net")
        assert allows(tmp_path, pattern, *origins) == [True, True, False]


@SAMPLED
@given(tail=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
@settings(max_examples=examples(60), deadline=None)
def test_nothing_may_follow_an_allowed_origin(tail: str) -> None:
    """No policy allows an origin that merely starts with an allowed one."""
    for cors in (SITE, r"https://example\.com\Z", r"https://example\.com|https://b\.example\Z"):
        http = HttpRouter("http", __name__)
        http.get("/x", cors=cors)(ok)
        app = Flask("cors")
        app.register_blueprint(http)
        with app.test_request_context("/x", headers={"Origin": SITE + tail}):
            response = app.process_response(app.response_class("x"))
        assert ALLOWED not in response.headers


def test_credentials(tmp_path: Path) -> None:
    """With credentials the response names the origin; another origin receives no CORS header."""
    http = HttpRouter("http", __name__)
    http.get("/x", cors=Cors([SITE], credentials=True, expose_headers=["X-A"], max_age=60))(ok)
    with deployed(tmp_path, http) as app:
        response, options, other = send_from(app, "GET", "/x"), preflight(app, "/x"), send_from(app, "GET", "/x", EVIL)
    assert response.headers[ALLOWED] == options.headers[ALLOWED] == SITE
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Access-Control-Expose-Headers"] == "X-A"
    assert options.headers["Access-Control-Max-Age"] == "60"
    assert not [name for name, _ in other.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("message", "policy"),
    [
        ("name the origins", {"origins": "*", "credentials": True}),
        ("name the origins", {"origins": [SITE, "*"], "credentials": True}),
        ("name the origins", {"origins": r".*\Z", "credentials": True}),
        ("name the origins", {"origins": re.compile(r"https?://.*$"), "credentials": True}),
        ("without an end", {"origins": r"https://[a-z]+\.example\.com"}),
        ("without an end", {"origins": re.compile(r"https://example\.com")}),
        ("without an end", {"origins": ["https://a.example", "https://b.*"]}),
        ("without an end", {"origins": "https://*example.com"}),
        ("without an end", {"origins": "https://*.com.*"}),
        ("not a regular expression", {"origins": r"https://(a\Z"}),
        ("allows no origin", {"origins": []}),
        ("a scheme and a host", {"origins": "example.com"}),
        ("a scheme and a host", {"origins": "https://example.com/"}),
        ("a scheme and a host", {"origins": "https://example.com/path"}),
        (r"http://localhost:5173'.*write r'http://localhost:\[0-9\]", {"origins": ["http://localhost:*"]}),
        (r"https://dev\.example\.com:5173'", {"origins": "https://dev.example.com:*"}),
        ("does not stand for a port", {"origins": [SITE, "http://127.0.0.1:*"]}),
        ("an origin is a text", {"origins": [""]}),
        ("an origin is a text", {"origins": [1]}),
    ],
)
def test_dangerous_policies_are_rejected(message: str, policy: dict[str, Any]) -> None:
    """A policy that allows more than it seems to, or no origin, raises RegistrationError."""
    with pytest.raises(RegistrationError, match=message):
        Cors(**policy)


def test_explicit_options_route_wins(tmp_path: Path) -> None:
    """An application's own OPTIONS route replaces the preflight, for an exact path and for a prefix."""
    http = HttpRouter("http", __name__, cors="*")
    http.get("/x")(ok)
    http.options("/x", endpoint="mine")(ok)
    http.get(path_prefix="/below/", endpoint="below")(ok)
    http.options(path_prefix="/below/", endpoint="mine_below")(ok)
    with deployed(tmp_path, http) as app:
        for path in ("/x", "/below/a"):
            response = preflight(app, path)
            assert (response.status_code, response.text, response.headers[ALLOWED]) == (200, "ok", "*")


def test_router_policy_and_overrides(tmp_path: Path) -> None:
    """A router's policy applies to its routes, unless a route has its own policy or none."""
    http = HttpRouter("http", __name__, cors=[SITE])
    http.get("/inherited")(ok)
    http.get("/own", cors="*", endpoint="own")(ok)
    http.get("/none", cors=False, endpoint="none")(ok)
    with deployed(tmp_path, http) as app:
        allowed = [send_from(app, "GET", path).headers.get(ALLOWED) for path in ("/inherited", "/own", "/none")]
        assert preflight(app, "/none").status_code == 405
    assert allowed == [SITE, "*", None]


def test_no_headers_without_a_policy(tmp_path: Path) -> None:
    """Routes without a policy, the host app's own routes and its 404 have no CORS header."""
    http = HttpRouter("http", __name__)
    http.get("/x")(ok)
    http.get("/y", cors="*", endpoint="y")(ok)
    with deployed(tmp_path, http) as app:
        app.add_url_rule("/own", view_func=lambda: "own")
        for method, path in (("GET", "/x"), ("POST", "/x"), ("GET", "/own"), ("POST", "/own"), ("GET", "/missing")):
            response = send_from(app, method, path)
            assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
            assert "Vary" not in response.headers
