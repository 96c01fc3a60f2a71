"""Chunked bodies that are malformed or break off, as gunicorn's own parser passes them to the app."""

import hashlib
import hmac
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Request, request
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from werkzeug.exceptions import BadRequest
from werkzeug.serving import DechunkedInput
from werkzeug.test import TestResponse, run_wsgi_app

from flask_convex_http import ActionCtx, HmacSignature, HttpRouter, read_json
from flask_convex_http.web.requests.body_streams import ChunkedStream
from tests.web.apps import deployed

SECRET = "a secret of the sender, long enough"
DATA = json.dumps({"text": "x" * 200}).encode()


def chunk(data: bytes, size: bytes | None = None, end: bytes = b"\r\n") -> bytes:
    """Return a chunk."""
    return (b"%x" % len(data) if size is None else size) + b"\r\n" + data + end


#: A whole chunk of the body's first half, before each malformed part.
FIRST = chunk(DATA[:100])
LAST = b"0\r\n\r\n"
SIZES = {
    "no hexadecimal number": b"xyz",
    "empty": b"",
    "negative": b"-1",
    "signed": b"+5",
    "prefixed": b"0x6a",
    "underscore": b"6_a",
    "blank before": b" 6a",
    "blank inside": b"6 a",
    "huge": b"f" * 17,
    "beyond memory": b"7fffffffffffffff",
    "endless": b"6" * 20_000,
    "null": b"\x00",
    "not ASCII": "٦".encode(),
    "bare CR in an extension": b"6a;a\rb",
    "extension without a name": b"6a;=b",
    "extension with an open quote": b'6a;a="b',
    "endless extension": b"6a;" + b"a" * 20_000,
    "control characters in an extension": b"6a;a=\x01",
}
MALFORMED = {
    **{f"size: {name}": FIRST + chunk(DATA[100:], size) + LAST for name, size in SIZES.items()},
    **{f"first size: {name}": chunk(DATA, size) + LAST for name, size in SIZES.items()},
    "no CRLF after the data": FIRST + chunk(DATA[100:], end=b"") + LAST,
    "LF after the data": FIRST + chunk(DATA[100:], end=b"\n") + LAST,
    "LF after the size": FIRST.replace(b"\r\n", b"\n", 1) + LAST,
    "more data than the size": FIRST + chunk(DATA[100:], b"5") + LAST,
    "less data than the size": FIRST + chunk(DATA[100:], b"fff") + LAST,
    "cut before the first size": b"",
    "cut in a size": FIRST + b"6",
    "cut after a size": FIRST + b"6a\r\n",
    "cut between CR and LF of a size": FIRST + b"6a\r",
    "cut in the data": FIRST + b"6a\r\nabc",
    "cut after the data": FIRST + b"3\r\nabc",
    "cut in the CRLF after the data": FIRST + b"3\r\nabc\r",
    "cut before the last chunk": chunk(DATA),
    "cut in the last size": chunk(DATA) + b"0",
    "cut after the last size": chunk(DATA) + b"0\r\n",
    "cut in a trailer": chunk(DATA) + b"0\r\nX-A: b",
    "cut after a trailer": chunk(DATA) + b"0\r\nX-A: b\r\n",
    "a trailer without a colon": chunk(DATA) + b"0\r\nabc\r\n\r\n",
    "a trailer with a bad name": chunk(DATA) + b"0\r\nX A: b\r\n\r\n",
    "a trailer with a null": chunk(DATA) + b"0\r\nX-A: \x00\r\n\r\n",
    "a trailer with bare LF": chunk(DATA) + b"0\r\nX-A: b\nX-B: c\r\n\r\n",
    "too many trailers": chunk(DATA) + b"0\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    "an endless trailer": chunk(DATA) + b"0\r\nX-A: " + b"b" * 500_000,
}
PATHS = [
    "/read-json",
    "/data",
    "/pieces",
    "/lines",
    "/form",
    "/upload",
    "/hook",
    "/plain-data",
    "/plain-json",
    "/plain-form",
]


def router() -> HttpRouter:
    """Return a router with a route for each way to read a body."""
    http = HttpRouter("http", __name__)
    http.post("/read-json", endpoint="read_json")(lambda ctx, request: read_json(request))
    http.post("/data", endpoint="data")(lambda ctx, request: {"size": len(request.get_data())})
    http.post("/pieces", endpoint="pieces")(
        lambda ctx, request: list(map(len, iter(lambda: request.stream.read(7), b"")))
    )
    http.post("/lines", endpoint="lines")(lambda ctx, request: [len(line) for line in request.stream])
    http.post("/form", endpoint="form")(lambda ctx, request: dict(request.form))

    @http.post("/upload")
    def upload(ctx: ActionCtx, request: Request) -> Any:
        return {"id": ctx.storage.store(request.stream)}

    @http.webhook("/hook", HmacSignature(secret=SECRET, header="X-Signature"))
    def hook(ctx: Any, event: Any) -> None:
        """Do nothing."""

    return http


@pytest.fixture(name="app", scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Yield an app with these routes, and plain Flask views."""
    with deployed(tmp_path_factory.mktemp("app"), router()) as app:
        app.add_url_rule("/plain-data", view_func=lambda: request.get_data(), methods=["POST"], endpoint="plain")
        app.add_url_rule("/plain-json", view_func=lambda: request.get_json(), methods=["POST"], endpoint="json")
        app.add_url_rule("/plain-form", view_func=lambda: dict(request.form), methods=["POST"], endpoint="form")
        yield app


def post(app: Flask, path: str, body: bytes) -> TestResponse:
    """Send a chunked body through gunicorn's parser, in pieces as a socket has them."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [head, *(body[start : start + 4000] for start in range(0, len(body), 4000))]
    parsed = next(RequestParser(Config(), iter(pieces), ("127.0.0.1", 1)))
    return send(app, path, parsed.body)


def send(app: Flask, path: str, stream: Any) -> TestResponse:
    """Send a chunked body as the stream of a server."""
    content_type = b"application/x-www-form-urlencoded" if path.endswith("form") else b"application/json"
    signature = hmac.new(SECRET.encode(), DATA, hashlib.sha256).hexdigest()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "a",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_TYPE": content_type.decode(),
        "HTTP_X_SIGNATURE": signature,
    }
    iterable, status, headers = run_wsgi_app(app, environ)
    return TestResponse(iterable, status, headers, app.test_request_context().request)


@pytest.mark.parametrize("path", PATHS)
def test_malformed_chunks_are_400(app: Flask, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed or cut chunked body is 400 without a traceback, in each way to read it."""
    with caplog.at_level(logging.WARNING):
        statuses = {name: post(app, path, body).status_code for name, body in MALFORMED.items()}
    assert {name: status for name, status in statuses.items() if status != 400} == {}
    assert caplog.records == []


@pytest.mark.parametrize("path", PATHS)
def test_cut_chunks_are_400_in_the_development_server(app: Flask, path: str) -> None:
    """Under `flask run` a cut body is 400 at once, and no malformed one is a server error."""
    statuses = {name: send(app, path, DechunkedInput(io.BytesIO(body))).status_code for name, body in MALFORMED.items()}
    cut = {name: status for name, status in statuses.items() if "data" in name and name.startswith("cut")}
    assert cut and set(cut.values()) == {400}
    assert set(statuses.values()) <= {200, 400}
    huge = b"7fffffff\r\n{}"
    assert send(app, path, DechunkedInput(io.BytesIO(huge))).status_code in (400, 413)
    assert send(app, path, DechunkedInput(io.BytesIO(chunk(DATA) + LAST))).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_whole_chunks_are_accepted(app: Flask, path: str) -> None:
    """Chunks of any size, with extensions and trailers, are one body."""
    pieces = [DATA[start : start + 7] for start in range(0, len(DATA), 7)]
    for body in (
        chunk(DATA) + LAST,
        FIRST + chunk(DATA[100:], b'%X ; a="b;c" ; d' % len(DATA[100:])) + b"000\r\nX-A: b\r\n\r\n",
        b"".join(map(chunk, pieces)) + LAST,
    ):
        assert post(app, path, body).status_code == 200


def test_second_read_of_a_malformed_body_fails_too() -> None:
    """A body that was malformed once does not seem to be at its end when it is read again."""

    class Stream:
        reads = 0

        def read(self, size: int) -> bytes:
            self.reads += 1
            if self.reads == 1:
                raise ValueError
            return b""

        readline = read

    stream = ChunkedStream(Stream())
    for read in (stream.read, stream.readline, stream.readlines):
        with pytest.raises(BadRequest):
            read()
