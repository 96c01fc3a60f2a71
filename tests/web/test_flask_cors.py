"""Routes in an app that also uses flask-cors on the whole app: each response has the headers of one policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, abort
from flask_cors import CORS, cross_origin
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, HttpRouter, RegistrationError, json_errors, json_response, read_json
from tests.web.apps import deployed, send

SITE = "https://site.example"
APP = "https://app.example"
EVIL = "https://evil.example"
ALLOWED = "Access-Control-Allow-Origin"


def ok(ctx: ActionCtx, request: Request) -> str:
    """Return "ok"."""
    return "ok"


def router() -> HttpRouter:
    """Return a router with routes that have a policy, none, or cors=False."""
    http = HttpRouter("http", __name__, max_body_bytes=10)

    @http.post("/items", cors=[SITE, APP])
    def items(ctx: ActionCtx, request: Request) -> Any:
        return {"got": read_json(request)}

    @http.get(path_prefix="/fail/", cors=[SITE, APP])
    def fail(ctx: ActionCtx, request: Request, suffix: str) -> str:
        if suffix == "now":
            raise ValueError
        abort(int(suffix))

    http.get("/everyone", cors="*", endpoint="everyone")(ok)
    http.get("/plain", endpoint="plain")(ok)
    http.put("/items", endpoint="put")(ok)
    http.get("/closed", cors=False, endpoint="closed")(ok)
    http.delete("/items", cors=False, endpoint="delete")(ok)
    http.get("/closed/fail", cors=False, endpoint="closed_fail")(lambda ctx, request: abort(403))
    return http


@contextmanager
def shared(folder: Path, *, first: bool = False, with_json: bool = False, **options: Any) -> Iterator[Flask]:
    """Yield an app with these routes and CORS(app), which is set up before or after the first request's routes."""
    chosen: dict[str, Any] = {
        "origins": [SITE, APP],
        "expose_headers": ["X-App"],
        "supports_credentials": True,
    } | options
    with deployed(folder, *([] if first else [router()])) as app:
        CORS(app, **chosen)
        if first:
            app.register_blueprint(router())
        app.add_url_rule("/own", view_func=lambda: "own")
        if with_json:
            json_errors(app)
        yield app


def preflight(app: Flask, path: str, method: str, origin: str = SITE) -> TestResponse:
    """Send the preflight of a browser."""
    asked = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": method, "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "x-a"}
    return send(app, "OPTIONS", path, HTTP_ORIGIN=origin, **asked)


@pytest.mark.parametrize("options", [{"first": True}, {"with_json": True}, {"intercept_exceptions": False}, {}])
def test_every_response_has_one_allowed_origin(tmp_path: Path, options: dict[str, Any]) -> None:
    """A response of a route with a policy has its headers once, whatever its status, and none of the app's."""
    json_body = {"CONTENT_TYPE": "application/json"}
    with shared(tmp_path, **options) as app:
        responses = {
            200: send(app, "POST", "/items", b"[1]", HTTP_ORIGIN=SITE, CONTENT_LENGTH="3", **json_body),
            400: send(app, "POST", "/items", b"[1", HTTP_ORIGIN=SITE, CONTENT_LENGTH="2", **json_body),
            404: send(app, "GET", "/fail/404", HTTP_ORIGIN=SITE),
            405: send(app, "PATCH", "/items", HTTP_ORIGIN=SITE),
            413: send(app, "POST", "/items", b"1" * 99, HTTP_ORIGIN=SITE, CONTENT_LENGTH="99", **json_body),
            415: send(app, "POST", "/items", b"x", HTTP_ORIGIN=SITE, CONTENT_LENGTH="1"),
            500: send(app, "GET", "/fail/now", HTTP_ORIGIN=SITE),
        }
    for status, response in responses.items():
        assert (response.status_code, response.headers.getlist(ALLOWED)) == (status, [SITE])
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Access-Control-Expose-Headers" not in response.headers


def test_policy_of_the_app_does_not_loosen_that_of_a_route(tmp_path: Path) -> None:
    """An origin that only the whole app allows gets no headers from a route with a policy, errors included."""
    with shared(tmp_path, origins="*", supports_credentials=False) as app:
        for method, path in (("POST", "/items"), ("GET", "/fail/404"), ("PATCH", "/items")):
            assert ALLOWED not in send(app, method, path, HTTP_ORIGIN=EVIL).headers
        assert ALLOWED not in preflight(app, "/items", "POST", EVIL).headers
        assert send(app, "GET", "/everyone", HTTP_ORIGIN=EVIL).headers.getlist(ALLOWED) == ["*"]


def test_routes_without_a_policy_have_that_of_the_app(tmp_path: Path) -> None:
    """flask-cors handles the responses and preflights of routes without `cors=`, as those of plain Flask views."""
    with shared(tmp_path) as app:
        for path in ("/plain", "/own", "/missing"):
            response = send(app, "GET", path, HTTP_ORIGIN=SITE)
            assert response.headers.getlist(ALLOWED) == [SITE]
        for path, method in (("/plain", "GET"), ("/items", "PUT")):
            response = preflight(app, path, method)
            assert (response.status_code, response.data) == (204, b"")
            assert response.headers.getlist(ALLOWED) == [SITE]
            assert method in response.headers["Access-Control-Allow-Methods"]
            assert response.headers["Access-Control-Allow-Headers"] == "x-a"
            assert method in response.headers["Allow"]
            assert "Content-Type" not in response.headers
            assert len(response.headers.getlist("X-Request-Id")) == 1
        assert preflight(app, "/plain", "GET", EVIL).status_code == 405


def test_cors_false_takes_a_route_out_of_the_app_s_policy(tmp_path: Path) -> None:
    """A route with cors=False has no CORS headers, and its preflight fails, also with CORS(app)."""
    with shared(tmp_path) as app:
        responses = [send(app, "GET", "/closed", HTTP_ORIGIN=SITE), send(app, "GET", "/closed/fail", HTTP_ORIGIN=SITE)]
        responses += [preflight(app, "/closed", "GET"), preflight(app, "/items", "DELETE")]
        responses += [send(app, "DELETE", "/items", HTTP_ORIGIN=SITE)]
    assert [response.status_code for response in responses] == [200, 403, 405, 204, 200]
    for response in responses:
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_policies_below_the_app(tmp_path: Path) -> None:
    """The policy of a route replaces that of flask-cors on its router or handler, and headers that a handler sets."""
    http = HttpRouter("http", __name__, cors=SITE)
    CORS(http, origins="*")

    @http.get("/decorated")
    @cross_origin(origins=[SITE, APP], expose_headers=["X-App"])
    def decorated(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    @http.get("/by-hand")
    def by_hand(ctx: ActionCtx, request: Request) -> Any:
        return json_response({}, headers={ALLOWED: "*"})

    with deployed(tmp_path, http) as app:
        for path in ("/decorated", "/by-hand"):
            response = send(app, "GET", path, HTTP_ORIGIN=SITE)
            assert (response.status_code, response.headers.getlist(ALLOWED)) == (200, [SITE])
            assert "Access-Control-Expose-Headers" not in response.headers


def test_flask_cors_that_would_answer_no_preflight_is_refused() -> None:
    """`@cross_origin` and `CORS(router)` are refused where the route has no policy, with what to write instead."""
    http = HttpRouter("http", __name__)

    @cross_origin(origins=SITE)
    def decorated(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with pytest.raises(RegistrationError, match=r"@cross_origin on decorated .* cors=\.\.\. on the route /decorated"):
        http.get("/decorated")(decorated)
    http.get("/decorated", cors=SITE)(decorated)
    http.get("/simple")(cross_origin(origins=SITE, automatic_options=False)(ok))
    CORS(http, origins=SITE)
    with pytest.raises(RegistrationError, match=r"such as that of /simple; write HttpRouter"):
        Flask("test_app").register_blueprint(http)
