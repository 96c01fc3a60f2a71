"""An app with code of its own for each request sees each forgery of a flood."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, Response, request_started
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Map, UnicodeConverter

from flask_convex_http import ConvexHTTP, HmacSignature, HttpRouter
from flask_convex_http.errors import ConvexHTTPError, VerificationError
from tests.web.apps import backend_of, deployed
from tests.web.floods import FORGED, flood, hook_router, post
from tests.web.orders_webhook import SECRET, provider


def _nothing(*arguments: Any, **values: Any) -> None:
    pass


def _same(response: Response) -> Response:
    return response


class _OwnFlask(Flask):
    pass


class _OwnRequest(Request):
    pass


class _OwnResponse(Response):
    pass


class _OwnSessions(SecureCookieSessionInterface):
    pass


class _OwnSession(SecureCookieSession):
    pass


class _OwnMap(Map):
    pass


class _OwnProvider(HmacSignature):
    pass


def _decorate(app: Flask) -> None:
    view: Any = app.view_functions["http.hook"]
    app.view_functions["http.hook"] = functools.wraps(view)(lambda **values: view(**values))


def _map(app: Flask) -> None:
    app.url_map.__class__ = _OwnMap


def _change_sessions(app: Flask, name: str, value: Any) -> None:
    app.session_interface = SecureCookieSessionInterface()  # all apps share Flask's
    setattr(app.session_interface, name, value)


def _replace(app: Flask) -> None:
    dispatch = app.dispatch_request
    app.dispatch_request = lambda: dispatch()  # type: ignore[method-assign]


_CHANGES: dict[str, Callable[[Flask], Any]] = {
    "before_request": lambda app: app.before_request(_nothing),
    "after_request": lambda app: app.after_request(_same),
    "teardown_request": lambda app: app.teardown_request(_nothing),
    "teardown_appcontext": lambda app: app.teardown_appcontext(_nothing),
    "url_value_preprocessor": lambda app: app.url_value_preprocessor(_nothing),
    "handler of the error": lambda app: app.register_error_handler(VerificationError, lambda error: ("own", 400)),
    "handler of all errors": lambda app: app.register_error_handler(ConvexHTTPError, lambda error: ("own", 400)),
    "request_class": lambda app: setattr(app, "request_class", _OwnRequest),
    "response_class": lambda app: setattr(app, "response_class", _OwnResponse),
    "session_interface": lambda app: setattr(app, "session_interface", _OwnSessions()),
    "class of sessions": lambda app: _change_sessions(app, "session_class", _OwnSession),
    "replaced method of sessions": lambda app: _change_sessions(app, "open_session", _nothing),
    "class of the map": _map,
    "decorated view": _decorate,
    "replaced method": _replace,
}


@pytest.mark.parametrize("change", _CHANGES)
def test_code_of_the_app_runs_for_each_forgery(tmp_path: Path, change: str) -> None:
    """With any code of its own for a request, Flask sees all forgeries of a flood."""
    with deployed(tmp_path, hook_router()) as app:
        _CHANGES[change](app)
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen


@pytest.mark.parametrize("scope", ["router", "outer blueprint"])
def test_code_of_a_blueprint_runs_for_each_forgery(tmp_path: Path, scope: str) -> None:
    """A function of the router, or of a blueprint around it, runs for all forgeries of a flood."""
    calls: list[str] = []
    http, outer = hook_router(), Blueprint("outer", __name__, url_prefix="/outer")
    (http if scope == "router" else outer).before_request(lambda: calls.append(scope))
    outer.register_blueprint(http)
    with deployed(tmp_path, outer) as app:  # type: ignore[arg-type]  # any blueprint does
        flood(app, tmp_path, "/outer/hook")
        calls.clear()
        assert post(app, FORGED, "/outer/hook").is_seen
    assert calls == [scope]


def test_a_receiver_gets_each_forgery(tmp_path: Path) -> None:
    """A receiver that is connected during a flood gets the signals of the forgeries from then on."""
    senders: list[Flask] = []
    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        with request_started.connected_to(lambda sender: senders.append(sender), app):
            assert post(app, FORGED).is_seen
        assert not post(app, FORGED).is_seen
    assert senders == [app]


def test_a_wrapped_method_of_flask_runs_for_each_forgery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that wrap a method of Flask see all forgeries of a flood."""
    dispatch = Flask.dispatch_request
    monkeypatch.setattr(Flask, "dispatch_request", functools.wraps(dispatch)(lambda app: dispatch(app)))
    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen


def test_a_converter_runs_for_each_forgery(tmp_path: Path) -> None:
    """With a variable in the host, which a converter of the application may read, Flask routes all forgeries."""
    hosts: list[str] = []

    class Noted(UnicodeConverter):
        def to_python(self, value: str) -> str:
            hosts.append(value)
            return value

    http = HttpRouter("http", __name__, subdomain="<noted:tenant>")
    http.webhook("/hook", provider(), endpoint="hook")(lambda ctx, event: None)
    app = Flask("hosts", instance_path=str(tmp_path), subdomain_matching=True)
    app.config |= {"CONVEX_WORKER": "off", "SERVER_NAME": "example.com"}
    app.url_map.converters["noted"] = Noted
    ConvexHTTP(app)
    app.register_blueprint(http)
    forged = FORGED | {"HTTP_HOST": "acme.example.com"}
    try:
        flood(app, tmp_path, headers=forged)
        hosts.clear()
        assert post(app, forged).is_seen
    finally:
        backend_of(app).close()
    assert hosts == ["acme"]


def test_a_failing_clock_is_an_error_of_a_view(tmp_path: Path) -> None:
    """If the clock of the application raises during a flood, Flask responds with 500 and the id of the request."""

    def fail() -> float:
        raise OSError("no clock")

    with deployed(tmp_path, hook_router()) as app:
        flood(app, tmp_path)
        backend_of(app).clock.source = fail
        reply = post(app, FORGED)
    assert (reply.status[:3], reply.body.count(b"of-the-test")) == ("500", 1)


def test_a_provider_of_the_application_runs_inside_flask(tmp_path: Path) -> None:
    """A provider of the application may use Flask's context, so that it verifies each delivery inside it."""
    own = _OwnProvider(secret=SECRET, header="X-Signature", id_field="id", type_field="type")
    with deployed(tmp_path, hook_router(own)) as app:
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen


@pytest.mark.parametrize("kind", ["own class", "middleware below"])
def test_an_unusual_app_sees_each_forgery(tmp_path: Path, kind: str) -> None:
    """A subclass of Flask, and an app with other middleware below the package's, see all forgeries of a flood."""
    app = (_OwnFlask if kind == "own class" else Flask)("unusual", instance_path=str(tmp_path))
    app.config |= {"CONVEX_WORKER": "off"}
    if kind == "middleware below":
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    ConvexHTTP(app)
    app.register_blueprint(hook_router())
    try:
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen
    finally:
        backend_of(app).close()


def test_middleware_around_the_app_is_no_code_of_its_own(tmp_path: Path) -> None:
    """WSGI middleware around the package's sees all requests anyway, and so does a router's CORS."""
    http = hook_router()
    http.get("/other", cors="*")(lambda ctx, request: {})
    with deployed(tmp_path, http) as app:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
