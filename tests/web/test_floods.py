"""Forgeries of a flood are rejected before Flask, with the same response and the same events."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, Response, request_started
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Map, UnicodeConverter

from flask_convex_http import ConvexHTTP, HmacSignature, HttpRouter, Notion, Slack, WebhookEvent
from flask_convex_http.errors import ConvexHTTPError, VerificationError
from flask_convex_http.inbox.rejections import Rejections
from flask_convex_http.webhooks import Provider
from tests.web.apps import backend_of, deployed
from tests.web.floods import FORGED, flood, post, use_up
from tests.web.orders_webhook import BODY, SECRET, provider, sign
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.senders import SENDERS

_SIGNED = {"HTTP_X_SIGNATURE": sign(), "HTTP_X_REQUEST_ID": "of-the-test"}


def _router(given: Provider | None = None, path: str = "/hook") -> HttpRouter:
    http = HttpRouter("http", __name__)
    http.webhook(path, given or provider(), endpoint="hook")(lambda ctx, event: None)
    return http


Forged = tuple[dict[str, str], bytes]


def _senders() -> dict[str, tuple[Provider, Forged]]:
    """Return all senders, each with a delivery that another secret has signed."""
    found: dict[str, tuple[Provider, Forged]] = {}
    for name, sender in SENDERS.items():
        headers = sender.headers(secret=sender.other_secret, at=int(time.time()))
        found[name] = sender.provider(), (_as_environ(headers), sender.body)
    for name, contract in provider_senders().items():
        now = time.time() * 1000 if contract.now is None else contract.now
        request = contract.request(contract.other_secret, contract.body, now)
        found[name] = contract.provider(contract.secret), (_as_environ(request.headers), request.body)
    return found


def _as_environ(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.upper().replace("-", "_"): value for name, value in headers.items()}
    return {name if name == "CONTENT_TYPE" else f"HTTP_{name}": value for name, value in named.items()}


def _variants(forged: Forged) -> Iterator[Forged]:
    """Yield a forgery, and malformed ones."""
    headers, body = forged
    yield forged
    for other in (b"", b"\xff\x00", b"ssl_check=1", b'{"id":', b"[" * 2000, body * 2):
        yield headers, other
    for name in headers:
        yield {other: value for other, value in headers.items() if other != name}, body
        for value in ("", " ", "\xff", "=,=", "t=1,v1=", headers[name][:-1], headers[name] * 9):
            yield headers | {name: value}, body


@contextmanager
def _receiving(folder: Path, senders: Mapping[str, tuple[Provider, Forged]], *, is_plain: bool) -> Iterator[Flask]:
    """Yield an app with all senders in a flood, whose forgeries Flask sees only if the app is not plain."""
    http = HttpRouter("http", __name__)
    for name, (given, _) in senders.items():
        http.webhook(f"/{name}", given, endpoint=name)(lambda ctx, event: None)
    with deployed(folder, http) as app:
        if not is_plain:
            app.before_request(_nothing)
        backend_of(app).rejections = Rejections(folder / "rejected", timer=lambda: 0.0)
        for name, (_, (headers, body)) in senders.items():
            use_up(app, f"/{name}", body, headers)
        yield app


def test_the_response_is_the_same_as_that_of_flask(tmp_path: Path) -> None:
    """For each sender a forgery, malformed or not, gets the same response before Flask as from it."""
    senders = _senders()
    with (
        _receiving(tmp_path / "plain", senders, is_plain=True) as plain,
        _receiving(tmp_path / "other", senders, is_plain=False) as other,
    ):
        for name, (_, forged) in senders.items():
            assert not post(plain, forged[0], f"/{name}", forged[1]).is_seen, name
            for headers, body in _variants(forged):
                sent = {**headers, "HTTP_X_REQUEST_ID": "of-the-test"}
                reply, by_flask = (post(app, sent, f"/{name}", body) for app in (plain, other))
                assert by_flask.is_seen
                assert reply[:3] == by_flask[:3], (name, headers, body)
                assert reply.status < "5" or b"cannot be verified at the moment" in reply.body


def test_a_genuine_delivery_is_handled_during_a_flood(tmp_path: Path) -> None:
    """A delivery that verifies runs its handler once, with the body that was sent."""
    events: list[WebhookEvent] = []
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider())(lambda ctx, event: events.append(event))
    with deployed(tmp_path, http) as app:
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        assert [post(app, _SIGNED).status for _ in range(2)] == ["200 OK"] * 2
    assert [(event.id, event.body) for event in events] == [("evt_1", BODY)]


def test_rejections_before_flask_are_counted(tmp_path: Path) -> None:
    """The next rejection that is recorded has the number of those before it, rejected by Flask or before it."""
    seconds = 0.0
    with deployed(tmp_path, _router()) as app:
        rejections = flood(app, tmp_path)
        rejections._timer = lambda: seconds
        assert [post(app, FORGED).is_seen for _ in range(4)] == [False] * 4
        seconds += 1
        assert [post(app, FORGED).is_seen for _ in range(2)] == [True, False]
    assert rejections.recent()[0].others == 4


def test_a_forgery_before_flask_is_published(tmp_path: Path) -> None:
    """Telemetry gets the same events for a forgery, rejected by Flask or before it."""
    events: list[Any] = []
    with deployed(tmp_path, _router()) as app:
        backend_of(app).telemetry.subscribe(events.append)
        flood(app, tmp_path)
        *_, rejected, finished = events
        events.clear()
        assert not post(app, FORGED).is_seen
    assert events[0] == rejected
    assert [(each.method, each.route, each.status, repr(each.error)) for each in (events[1], finished)] == [
        ("POST", "/hook", 400, repr(finished.error))
    ] * 2


def test_other_places_are_routed_by_flask(tmp_path: Path) -> None:
    """A host that Flask has not seen with the webhook, another method, and another path go through Flask."""
    with deployed(tmp_path, _router()) as app:
        flood(app, tmp_path)
        places = {"HTTP_HOST": "other.example", "SCRIPT_NAME": "/app", "REQUEST_METHOD": "PUT", "PATH_INFO": "/hooks"}
        for name, value in places.items():
            assert post(app, FORGED | {name: value}).is_seen
        assert not post(app, FORGED | {"HTTP_HOST": "other.example"}).is_seen


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_COOKIE": "session=x"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_UPGRADE": "websocket"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
        {"CONTENT_LENGTH": "3"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "1000"},
        {"wsgi.input": BytesIO(b"")},
    ],
    ids=lambda environ: " ".join(environ),
)
def test_unusual_requests_are_seen_by_flask(tmp_path: Path, environ: dict[str, Any]) -> None:
    """A cookie, an encoding, an upgrade, and a body that is not as long as announced are left to Flask."""
    with deployed(tmp_path, _router()) as app:
        flood(app, tmp_path)
        assert post(app, FORGED | environ).is_seen


def test_a_large_body_is_seen_by_flask(tmp_path: Path) -> None:
    """A body over the limit of the webhook gets its 413 from Flask."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider(), max_body_bytes=len(BODY))(lambda ctx, event: None)
    with deployed(tmp_path, http) as app:
        flood(app, tmp_path)
        reply = post(app, FORGED, body=BODY + b" ")
    assert (reply.status[:3], reply.is_seen) == ("413", True)


def test_a_limit_that_is_lowered_during_a_flood_holds(tmp_path: Path) -> None:
    """A body over a limit that the application lowers during a flood gets its 413 from Flask."""
    with deployed(tmp_path, _router()) as app:
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen
        app.config["MAX_CONTENT_LENGTH"] = len(BODY) - 1
        reply = post(app, FORGED)
    assert (reply.status[:3], reply.is_seen) == ("413", True)


# --- code of the application -----------------------------------------------------------------------------------------


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
    with deployed(tmp_path, _router()) as app:
        _CHANGES[change](app)
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen


@pytest.mark.parametrize("scope", ["router", "outer blueprint"])
def test_code_of_a_blueprint_runs_for_each_forgery(tmp_path: Path, scope: str) -> None:
    """A function of the router, or of a blueprint around it, runs for all forgeries of a flood."""
    calls: list[str] = []
    http, outer = _router(), Blueprint("outer", __name__, url_prefix="/outer")
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
    with deployed(tmp_path, _router()) as app:
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
    with deployed(tmp_path, _router()) as app:
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

    with deployed(tmp_path, _router()) as app:
        flood(app, tmp_path)
        backend_of(app).clock.source = fail
        reply = post(app, FORGED)
    assert (reply.status[:3], reply.body.count(b"of-the-test")) == ("500", 1)


def test_a_provider_of_the_application_runs_inside_flask(tmp_path: Path) -> None:
    """A provider of the application may use Flask's context, so that it verifies each delivery inside it."""
    own = _OwnProvider(secret=SECRET, header="X-Signature", id_field="id", type_field="type")
    with deployed(tmp_path, _router(own)) as app:
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
    app.register_blueprint(_router())
    try:
        flood(app, tmp_path)
        assert post(app, FORGED).is_seen
    finally:
        backend_of(app).close()


def test_middleware_around_the_app_is_no_code_of_its_own(tmp_path: Path) -> None:
    """WSGI middleware around the package's sees all requests anyway, and so does a router's CORS."""
    http = _router()
    http.get("/other", cors="*")(lambda ctx, request: {})
    with deployed(tmp_path, http) as app:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        flood(app, tmp_path)
        assert not post(app, FORGED).is_seen


# --- requests that verify a URL --------------------------------------------------------------------------------------


def test_a_probe_is_greeted_during_a_flood(tmp_path: Path) -> None:
    """Slack's check of the certificate, which has no signature, gets its 200 during a flood."""
    forged = {"HTTP_X_SLACK_SIGNATURE": f"v0={'0' * 64}", "HTTP_X_SLACK_REQUEST_TIMESTAMP": str(int(time.time()))}
    with deployed(tmp_path, _router(Slack(secret=SECRET))) as app:
        flood(app, tmp_path, headers=forged)
        assert not post(app, forged).is_seen
        probe = post(app, {"CONTENT_TYPE": "application/x-www-form-urlencoded"}, body=b"ssl_check=1&token=x")
    assert (probe.status, probe.is_seen) == ("200 OK", True)


def test_a_token_is_passed_on_once_during_a_flood(tmp_path: Path) -> None:
    """Notion's request with the token of a new subscription, which has no signature, is passed on once."""
    tokens: list[str] = []
    forged = {"HTTP_X_NOTION_SIGNATURE": f"sha256={'0' * 64}"}
    token = "secret_" + "a" * 43
    with deployed(tmp_path, _router(Notion(secret=SECRET, on_verification_token=tokens.append))) as app:
        flood(app, tmp_path, headers=forged)
        assert not post(app, forged).is_seen
        assert post(app, {}, body=f'{{"verification_token": "{token}"}}'.encode()).status == "200 OK"
    assert tokens == [token]
