"""Routers as Flask blueprints: converters, url_for, hooks, nesting, and rejected routes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, g, url_for
from flask.cli import FlaskGroup
from werkzeug.exceptions import HTTPException

from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, RegistrationError, require_api_key
from flask_convex_http.web.middleware import Middleware
from flask_convex_http.web.state import WORKER
from tests.lengths import LONG
from tests.web.apps import backend_of, deployed, send

Handler = Callable[..., Any]


def echo(ctx: ActionCtx, request: Request, **values: Any) -> dict[str, Any]:
    """Return the method and the values of the route."""
    return {"method": request.method, **values}


def test_head_runs_get(tmp_path: Path) -> None:
    """HEAD runs the GET handler, which sees the method HEAD, and the response has no body."""
    http = HttpRouter("http", __name__)
    seen: list[str] = []

    @http.get("/x")
    def x(ctx: ActionCtx, request: Request) -> str:
        seen.append(request.method)
        return "body"

    with deployed(tmp_path, http) as app:
        response = send(app, "HEAD", "/x")
    assert (response.status_code, response.data, response.headers["Content-Length"]) == (200, b"", "4")
    assert seen == ["HEAD"]


def test_options_without_a_route_is_405(tmp_path: Path) -> None:
    """Without CORS and without an OPTIONS route, OPTIONS is a 405 with Allow."""
    http = HttpRouter("http", __name__)
    http.get("/x")(echo)
    http.options("/y")(echo)
    with deployed(tmp_path, http) as app:
        missing, response = send(app, "OPTIONS", "/x"), send(app, "OPTIONS", "/y")
    assert missing.status_code == 405
    assert set(missing.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json == {"method": "OPTIONS"}


def test_url_for_builds_every_kind_of_route(tmp_path: Path) -> None:
    """url_for builds exact paths, paths that end in a slash, prefixes and converters."""
    http = HttpRouter("http", __name__, url_prefix="/v1")
    for endpoint, where in {
        "exact": {"rule": "/x"},
        "slash": {"rule": "/x/"},
        "root": {"rule": "/"},
        "number": {"rule": "/n/<int:id>"},
        "below": {"path_prefix": "/below/"},
        "both": {"path_prefix": "/o/<org>/"},
    }.items():
        http.route(**where, endpoint=endpoint)(echo)  # type: ignore[call-overload]
    with deployed(tmp_path, http) as app, app.test_request_context():
        assert url_for("http.exact") == "/v1/x"
        assert url_for("http.slash") == "/v1/x/"
        assert url_for("http.root") == "/v1/"
        assert url_for("http.number", id=3) == "/v1/n/3"
        assert url_for("http.below", suffix="a/b c") == "/v1/below/a/b%20c"
        assert url_for("http.below", suffix="") == "/v1/below/"
        assert url_for("http.both", org="acme", suffix="x") == "/v1/o/acme/x"
        assert url_for("http.exact", q=1) == "/v1/x?q=1"


def test_flask_routes_lists_them(tmp_path: Path) -> None:
    """`flask routes` lists the routes."""
    http = HttpRouter("http", __name__)
    http.get("/x")(echo)
    http.post(path_prefix="/below/", endpoint="below")(echo)
    with deployed(tmp_path, http) as app:
        output = app.test_cli_runner().invoke(FlaskGroup(create_app=lambda: app), ["routes"]).output
    assert "http.echo" in output and "/x" in output
    assert "http.below" in output and "/below/" in output


def test_converters_reach_the_handler(tmp_path: Path) -> None:
    """Flask's converters work in exact paths and in prefixes, and a value that they do not match is a 404."""
    http = HttpRouter("http", __name__)

    @http.get("/n/<int:number>")
    def number(ctx: ActionCtx, request: Request, number: int) -> dict[str, int]:
        return {"number": number}

    @http.get(path_prefix="/o/<org>/")
    def below(ctx: ActionCtx, request: Request, org: str, rest: str) -> list[str]:
        return [org, rest]

    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/n/12").json == {"number": 12}
        assert send(app, "GET", "/n/x").status_code == 404
        assert send(app, "GET", "/n/12/").status_code == 404
        assert send(app, "GET", "/o/acme/a/b").json == ["acme", "a/b"]
        assert send(app, "GET", "/o/acme/").json == ["acme", ""]
        assert send(app, "GET", "/o/acme").status_code == 404


def test_prefix_handler_may_ignore_the_suffix(tmp_path: Path) -> None:
    """A prefix handler may give the suffix any name, or take none, also with *args."""
    http = HttpRouter("http", __name__)

    @http.get(path_prefix="/named/")
    def named(ctx: ActionCtx, request: Request, rest: str) -> str:
        return rest

    @http.get(path_prefix="/none/")
    def none(ctx: ActionCtx, request: Request) -> str:
        return "none"

    @http.get(path_prefix="/args/")
    def args(ctx: ActionCtx, request: Request, *more: str) -> str:
        return "args"

    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/named/a/b").text == "a/b"
        assert send(app, "GET", "/none/a").text == "none"
        assert send(app, "GET", "/args/a").text == "args"


def test_nested_blueprints(tmp_path: Path) -> None:
    """A router within a blueprint or another router has the prefixes of both."""
    inner = HttpRouter("inner", __name__, url_prefix="/inner")
    inner.get("/x")(echo)
    inner.get(path_prefix="/below/", endpoint="below", cors="*")(echo)
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    outer.register_blueprint(inner)
    router = HttpRouter("router", __name__, url_prefix="/router")
    router.register_blueprint(inner)
    with deployed(tmp_path, router) as app:
        app.register_blueprint(outer)
        for start in ("/outer", "/router"):
            assert send(app, "GET", f"{start}/inner/x").status_code == 200
            assert send(app, "GET", f"{start}/inner/below/a").json == {"method": "GET", "suffix": "a"}
            assert send(app, "OPTIONS", f"{start}/inner/below/a").status_code == 204
            assert send(app, "GET", f"{start}/x").status_code == 404


def test_one_router_serves_two_apps(tmp_path: Path) -> None:
    """A router can be registered on two apps, and twice on one under another name."""
    http = HttpRouter("http", __name__)
    http.get("/x", cors="*")(echo)
    with deployed(tmp_path, http) as first, deployed(tmp_path, http) as second:
        second.register_blueprint(http, name="again", url_prefix="/again")
        assert send(first, "GET", "/x").status_code == send(second, "GET", "/x").status_code == 200
        assert send(second, "OPTIONS", "/again/x").status_code == 204
        assert send(first, "GET", "/again/x").status_code == 404


def test_hooks_run_around_the_handler(tmp_path: Path) -> None:
    """before_request may respond instead of the handler, g is shared, and after_request sees the response."""
    http = HttpRouter("http", __name__)

    @http.before_request
    def before() -> str | None:
        g.who = "hook"
        return None

    @http.after_request
    def after(response: Any) -> Any:
        response.headers["X-After"] = g.who
        return response

    @http.get("/x")
    def x(ctx: ActionCtx, request: Request) -> str:
        return str(g.who)

    closed = HttpRouter("closed", __name__, url_prefix="/closed")
    closed.before_request(lambda: ("closed", 401))
    closed.get(path_prefix="/")(echo)
    with deployed(tmp_path, http, closed) as app:
        response = send(app, "GET", "/x")
        assert (response.text, response.headers["X-After"]) == ("hook", "hook")
        response = send(app, "GET", "/closed/a")
        assert (response.text, response.status_code, "X-After" in response.headers) == ("closed", 401, False)


def test_double_slashes_match_the_prefix_only(tmp_path: Path) -> None:
    """A path that starts with `//` matches the prefix `/` and no exact path."""
    http = HttpRouter("http", __name__)
    http.get("/x")(echo)
    http.post(path_prefix="/", endpoint="all")(echo)
    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/x").status_code == 200
        assert send(app, "GET", "//x").status_code == 404
        assert send(app, "POST", "//y").status_code == 200


def test_lenient_host_app_does_not_loosen_routes(tmp_path: Path) -> None:
    """`/x` and `/x/` differ even on an app with strict_slashes=False."""
    http = HttpRouter("http", __name__)
    http.get("/x")(echo)
    http.get("/y/", endpoint="y")(echo)
    app = Flask("lenient", instance_path=str(tmp_path))
    app.url_map.strict_slashes = False
    app.config["CONVEX_DATABASE_URL"] = "sqlite:///:memory:"
    ConvexHTTP(app)
    app.register_blueprint(http)
    statuses = [send(app, "GET", path).status_code for path in ("/x", "/x/", "/y", "/y/")]
    assert statuses == [200, 404, 404, 200]


def test_routes_of_the_host_app_are_unchanged(tmp_path: Path) -> None:
    """The host app's own routes still redirect to the trailing slash and support OPTIONS."""
    http = HttpRouter("http", __name__)
    http.post("/x")(echo)
    with deployed(tmp_path, http) as app:
        app.add_url_rule("/own/", view_func=lambda: "own", endpoint="own")
        assert send(app, "GET", "/own").status_code == 308
        assert send(app, "GET", "//own/").text == "own"
        assert send(app, "GET", "/x//own/").status_code == 404
        assert send(app, "OPTIONS", "/own/").status_code == 200
        assert send(app, "POST", "//own/").status_code == 405


def test_two_routes_on_one_handler(tmp_path: Path) -> None:
    """One handler can have several routes, each with its own endpoint."""
    http = HttpRouter("http", __name__)

    @http.get("/a")
    @http.post("/a")
    @http.get("/b")
    def handler(ctx: ActionCtx, request: Request) -> str:
        return request.method + request.path

    with deployed(tmp_path, http) as app:
        texts = [send(app, *pair).text for pair in (("GET", "/a"), ("POST", "/a"), ("GET", "/b"))]
        assert send(app, "POST", "/b").status_code == 405
    assert texts == ["GET/a", "POST/a", "GET/b"]
    assert sorted(route.endpoint for route in http.routes) == ["handler", "handler_2", "handler_3"]


def test_auth_above_the_route_is_rejected() -> None:
    """A check above the route, where it would guard nothing, raises RegistrationError."""
    http = HttpRouter("http", __name__)
    with pytest.raises(RegistrationError, match="put the decorator below the route"):
        require_api_key(http.get("/x")(lambda ctx, request: ""))


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("write one of them", {}),
    ("write one of them", {"rule": "/a", "path_prefix": "/a/"}),
    ("write '/a'", {"rule": "a"}),
    ("write '/'", {"rule": ""}),
    ("path_prefix='/a/'", {"rule": "/a/*"}),
    ("write '/a/'", {"path_prefix": "a/"}),
    ("write '/a/'", {"path_prefix": "/a"}),
    ("write '/a/'", {"path_prefix": "/a*"}),
    ("write a single /", {"rule": "//a"}),
    ("write a single /", {"path_prefix": "//"}),
    ("write @http.get", {"rule": echo}),
    ("write one of them", {"rule": "/a", "method": "GET", "methods": ["POST"]}),
    (r"write methods=\['GET'\]", {"rule": "/a", "methods": "GET"}),
    (r'write methods=\["GET"\]', {"rule": "/a", "methods": []}),
    ("register GET", {"rule": "/a", "method": "HEAD"}),
    ("write one of GET, POST", {"rule": "/a", "method": "TRACE"}),
    ('write cors="\\*"', {"rule": "/a", "cors": True}),
    ("1 or more", {"rule": "/a", "max_body_bytes": 0}),
    ("1 or more", {"rule": "/a", "max_body_bytes": "1"}),
    ('write openapi_body={"application/json"', {"rule": "/a", "method": "POST", "openapi_body": int}),
    ('write openapi_body={"application/json"', {"rule": "/a", "method": "POST", "openapi_body": {"json": int}}),
    ("GET requests have no body", {"rule": "/a", "openapi_body": {"application/json": int}}),
]


@pytest.mark.parametrize(("message", "where"), WRONG)
def test_invalid_route_is_rejected(message: str, where: dict[str, Any]) -> None:
    """A route that cannot work raises RegistrationError, which suggests a correct one."""
    http = HttpRouter("http", __name__)
    with pytest.raises(RegistrationError, match=message):
        http.route(**where)(echo)
    assert not http.routes


def _no_variable(ctx: ActionCtx, request: Request) -> str:
    return ""


def _nothing() -> str:
    return ""


def _swapped(request: Request, ctx: ActionCtx) -> str:
    return ""


def _request_last(ctx: ActionCtx, item: str, request: Request) -> str:
    return ""


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (_no_variable, r"write def _no_variable\(ctx: ActionCtx, request: Request, item\)"),
        (_nothing, r"write def _nothing\(ctx: ActionCtx, request: Request, item\)"),
        (_swapped, r"write def _swapped\(ctx: ActionCtx, request: Request\)"),
        (_request_last, r"write def _request_last\(ctx: ActionCtx, request: Request, \*?item: str\)"),
        (lambda ctx, *, request: "", "must take the ctx and the request first"),
        (str, "str is no handler"),
        ("text", "'text' is no handler"),
    ],
)
def test_a_handler_that_cannot_be_called_is_rejected(handler: Any, message: str) -> None:
    """A handler that no request could call raises RegistrationError with the line to write."""
    http = HttpRouter("http", __name__)
    with pytest.raises(RegistrationError, match=message):
        http.get("/items/<item>")(handler)
    assert not http.routes


@pytest.mark.parametrize("handler", [lambda *args, **kwargs: "", lambda c, r, /, **rest: "", lambda a, b, item="": ""])
def test_a_handler_names_its_parameters_freely(tmp_path: Path, handler: Any) -> None:
    """The ctx and the request are passed by position, so a handler may call them as it likes."""
    http = HttpRouter("http", __name__)
    http.get("/items/<item>")(handler)
    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/items/1").status_code == 200


def test_second_route_is_rejected() -> None:
    """A second handler for a method and path, or a second route for an endpoint, raises RegistrationError."""
    http = HttpRouter("http", __name__)
    http.get("/a")(echo)
    http.get(path_prefix="/a/")(echo)
    for where in ({"rule": "/a"}, {"path_prefix": "/a/"}):
        with pytest.raises(RegistrationError, match="registered already"):
            http.route(**where)(echo)  # type: ignore[call-overload]
    with pytest.raises(RegistrationError, match="pass endpoint="):
        http.get("/b", endpoint="echo")(echo)


def test_async_handler(tmp_path: Path) -> None:
    """An async handler runs to its end, also behind a check."""
    pytest.importorskip("asgiref")
    http = HttpRouter("http", __name__)

    @http.get("/x")
    async def x(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"path": request.path}

    @http.get("/guarded")
    @require_api_key
    async def guarded(ctx: ActionCtx, request: Request) -> dict[str, object]:
        return {"who": ctx.auth.get_user_identity()}

    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/x").json == {"path": "/x"}
        assert send(app, "GET", "/guarded").status_code == 401
        key, _ = app.extensions["convex_http"].api_keys.create(name="test")
        assert "subject" in (send(app, "GET", "/guarded", HTTP_X_API_KEY=key).json or {})["who"]


@pytest.mark.parametrize("count", [10, 1000, pytest.param(5000, marks=LONG)])
def test_many_routes_match(count: int) -> None:
    """Each of thousands of routes is found, and other paths are a 404."""
    http = HttpRouter("http", __name__)
    for number in range(0, count, 2):
        http.get(f"/r{number}", endpoint=f"r{number}")(echo)
        http.post(path_prefix=f"/r{number}/", endpoint=f"p{number}")(echo)
    app = Flask("many")
    app.register_blueprint(http)
    adapter = app.url_map.bind("localhost")
    for number in (0, count // 2 & ~1, count - 2):
        assert adapter.match(f"/r{number}", "GET")[0] == f"http.r{number}"
        assert adapter.match(f"/r{number}/x/y", "POST") == (f"http.p{number}", {"suffix": "x/y"})
        with pytest.raises(HTTPException):
            adapter.match(f"/r{number + 1}", "GET")


def test_a_405_of_another_wsgi_application(tmp_path: Path) -> None:
    """A WSGI application in front of Flask may respond with 405, which is passed on as it is."""
    with deployed(tmp_path, HttpRouter("http", __name__)) as app:
        background, telemetry = app.extensions[WORKER], backend_of(app).telemetry
        app.wsgi_app = _refuse  # type: ignore[method-assign]  # as Flask's docs have middleware added
        app.wsgi_app = Middleware(app, background, telemetry)  # type: ignore[method-assign]  # as above
        response = app.test_client().post("/metrics")
        assert (response.status_code, response.headers["Allow"]) == (405, "GET")


def _refuse(environ: object, start_response: Any) -> list[bytes]:
    start_response("405 METHOD NOT ALLOWED", [("Allow", "GET")])
    return []
