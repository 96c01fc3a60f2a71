"""A body that was read for a handler can be read again."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, Response, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_convex_http import ConvexHTTP, HttpRouter

_BODY = b'{"a": 1}'
Use = Callable[[Request], object]
_USES: dict[str, tuple[Use, object]] = {
    "get_data": (lambda current: current.get_data(), _BODY),
    "get_data twice": (lambda current: (current.get_data(), current.get_data()), (_BODY, _BODY)),
    "text": (lambda current: current.get_data(as_text=True), _BODY.decode()),
    "get_json": (lambda current: current.get_json(), {"a": 1}),
    "json": (lambda current: current.json, {"a": 1}),
    "stream": (lambda current: current.stream.read(), _BODY),
    "form": (lambda current: list(current.form), []),
}


def _app(request_class: type[Request] = Request) -> Flask:
    app = Flask(__name__)
    app.request_class = request_class
    app.config["CONVEX_WORKER"] = "off"
    ConvexHTTP(app)
    return app


def _routed(app: Flask, handler: Callable[..., Any], **options: Any) -> Flask:
    http = HttpRouter("http", __name__)
    http.post("/body", **options)(handler)
    app.register_blueprint(http)
    return app


def _post(app: Flask, body: bytes = _BODY, **environ: str) -> Response:
    built = EnvironBuilder("/body", method="POST", data=body, content_type="application/json").get_environ() | environ
    parts, status, headers = run_wsgi_app(app, built)
    return Response(b"".join(parts), status, headers)


@pytest.mark.parametrize("use", _USES)
def test_a_body_can_be_read_after_a_handler_has_received_it(use: str) -> None:
    """Flask's ways to read a body have the whole body after the handler's `body` was read from it."""
    read, expected = _USES[use]
    seen = []

    def handler(ctx: object, request: Request, body: dict[str, int]) -> dict[str, int]:
        seen.append(read(request))
        return body

    assert _post(_routed(_app(), handler)).get_json() == {"a": 1}
    assert seen == [expected]


@pytest.mark.parametrize("use", ["get_data", "get_json", "json", "text"])
def test_a_body_can_be_read_before_a_handler_receives_it(use: str) -> None:
    """A function of `before_request` may read the body as text or JSON first."""
    read, expected = _USES[use]
    app, seen = _app(), []
    app.before_request(lambda: seen.append(read(request)))
    assert _post(_routed(app, lambda ctx, request, body: body)).get_json() == {"a": 1}
    assert seen == [expected]


def test_a_class_of_requests_with_a_get_data_of_its_own_is_asked() -> None:
    """A subclass of Request that decodes bodies in `get_data` still does."""

    class Decoding(Request):
        def get_data(self, cache: bool = True, as_text: Any = False, parse_form_data: bool = False) -> Any:
            return super().get_data(cache).replace(b"1", b"2")

    assert _post(_routed(_app(Decoding), lambda ctx, request, body: body)).get_json() == {"a": 2}


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "+8", "8 ", "\u0668", "8_0", "1e1", "x", ""])
def test_malformed_lengths_are_no_error_of_the_server(length: str) -> None:
    """A Content-Length that a server has let through, and that is no length, gets a response below 500."""
    assert _post(_routed(_app(), lambda ctx, request, body: body), CONTENT_LENGTH=length).status_code < 500


def test_a_body_that_is_too_large_or_too_short_is_refused() -> None:
    """A body over the limit is 413, and one that ends early 400."""
    app = _routed(_app(), lambda ctx, request, body: body, max_body_bytes=10)
    assert _post(app, b'{"a": 12345678}').status_code == 413
    assert _post(app, b'{"a": 1}', CONTENT_LENGTH="9").status_code == 400


def test_a_body_that_arrives_in_pieces_is_read_to_its_end() -> None:
    """A stream of the server that returns fewer bytes than asked for is read until the announced length."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 3))

    app = _routed(_app(), lambda ctx, request, body: body)
    environ = EnvironBuilder("/body", method="POST", data=_BODY, content_type="application/json").get_environ()
    parts, status, _ = run_wsgi_app(app, environ | {"wsgi.input": Slow(_BODY)})
    assert (b"".join(parts), status) == (b'{"a":1}', "200 OK")
