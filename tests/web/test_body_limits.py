"""Bodies at, over and under their limits, and their lengths."""

import gc
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, HttpRouter, PayloadTooLargeError, read_json
from flask_convex_http.web.requests.body_streams import BoundedStream
from tests.lengths import SAMPLED, examples
from tests.web.apps import deployed, send, send_chunked
from tests.web.posts import post

LIMIT = 100


@pytest.fixture(name="_abandoned_parts")
def abandoned_parts() -> Iterator[None]:
    """Collect the temporary file that Werkzeug leaves open when a form breaks off."""
    yield
    gc.collect()


def body_router() -> HttpRouter:
    """Return a router with an endpoint for each way to read a body, and a body limit."""
    http = HttpRouter("http", __name__, max_body_bytes=LIMIT)
    ways: dict[str, Callable[[Request], Any]] = {
        "data": lambda request: request.get_data(),
        "stream": lambda request: request.stream.read(),
        "pieces": lambda request: b"".join(iter(lambda: request.stream.read(7), b"")),
        "lines": lambda request: b"".join(request.stream),
        "json": lambda request: request.get_json(force=True),
        "read_json": lambda request: read_json(request),
        "form": lambda request: request.form["a"].encode(),
        "file": lambda request: request.files["a"].read(),
    }
    for name, read in ways.items():
        http.post(f"/{name}", endpoint=name)(reader(read))
    return http


def reader(read: Callable[[Request], Any]) -> Callable[..., Any]:
    """Return a handler that reads the body in one way and returns its size."""

    def handle(ctx: ActionCtx, request: Request) -> dict[str, int]:
        return {"size": len(read(request))}

    return handle


def body_of(way: str, size: int) -> tuple[bytes, str]:
    """Return a body of exactly this size that can be read in this way, and its content type."""
    if way in ("json", "read_json"):
        return b'"' + b"a" * (size - 2) + b'"', "application/json"
    if way == "form":
        return b"a=" + b"x" * (size - 2), "application/x-www-form-urlencoded"
    if way == "file":
        head, tail = b'--B\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n', b"\r\n--B--\r\n"
        return head + b"x" * (size - len(head) - len(tail)) + tail, "multipart/form-data; boundary=B"
    return b"a" * size, "application/octet-stream"


WAYS = ["data", "stream", "pieces", "lines", "json", "read_json", "form", "file"]


@pytest.mark.parametrize("way", WAYS)
def test_body_at_the_limit_is_accepted(tmp_path: Path, way: str) -> None:
    """A body of exactly the limit arrives whole, announced or in chunks."""
    body, content_type = body_of(way, LIMIT)
    with deployed(tmp_path, body_router()) as app:
        announced = post(app, f"/{way}", body, content_type)
        in_chunks = send_chunked(app, f"/{way}", body, CONTENT_TYPE=content_type)
    assert announced.status_code == in_chunks.status_code == 200
    assert announced.json == in_chunks.json


@pytest.mark.usefixtures("_abandoned_parts")
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.parametrize("size", [LIMIT + 1, 20 * LIMIT])
@pytest.mark.parametrize("way", WAYS)
def test_body_over_the_limit_is_413(tmp_path: Path, way: str, size: int) -> None:
    """A larger body is 413 in JSON, announced or in chunks, and is never truncated."""
    body, content_type = body_of(way, size)
    with deployed(tmp_path, body_router()) as app:
        for response in (
            post(app, f"/{way}", body, content_type),
            post_terminated(app, f"/{way}", body, content_type),
            send_chunked(app, f"/{way}", body, CONTENT_TYPE=content_type),
        ):
            assert response.status_code == 413
            assert list(response.json or {}) == ["error"]


@pytest.mark.usefixtures("_abandoned_parts")
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.parametrize("way", WAYS)
def test_body_shorter_than_announced_is_400(tmp_path: Path, way: str) -> None:
    """A body that ends before its announced length is 400."""
    body, content_type = body_of(way, LIMIT - 10)
    with deployed(tmp_path, body_router()) as app:
        for more in ({}, {"wsgi.input_terminated": True}):
            response = send(app, "POST", f"/{way}", body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(LIMIT), **more)
            assert response.status_code == 400


def post_terminated(app: Flask, path: str, body: bytes, content_type: str) -> TestResponse:
    """Send a POST with a length on a server that ends the stream itself."""
    more = {"wsgi.input_terminated": True}
    return send(app, "POST", path, body, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(len(body)), **more)


def test_body_longer_than_announced_is_not_read_on(tmp_path: Path) -> None:
    """Bytes after the announced length belong to the next request and are not read."""
    with deployed(tmp_path, body_router()) as app:
        response = send(app, "POST", "/data", b"a" * 50, CONTENT_LENGTH="20", **{"wsgi.input_terminated": True})
    assert response.json == {"size": 20}


@pytest.mark.parametrize("length", ["abc", "-5", "1_0", "٣", "9" * 30, "1.5"])
def test_malformed_lengths_cause_no_server_error(tmp_path: Path, length: str) -> None:
    """A malformed Content-Length is an empty body, and a huge one is 413."""
    with deployed(tmp_path, body_router()) as app:
        assert send(app, "POST", "/data", b"abc", CONTENT_LENGTH=length).status_code in (200, 413)


def test_which_limit_applies(tmp_path: Path) -> None:
    """The route's own limit comes first, then the router's, MAX_CONTENT_LENGTH and CONVEX_MAX_BODY_BYTES."""
    plain, limited = HttpRouter("plain", __name__), HttpRouter("limited", __name__, max_body_bytes=30)
    read = reader(lambda request: request.get_data())
    plain.post("/plain")(read)
    plain.post("/own", max_body_bytes=40, endpoint="own")(read)
    limited.post("/limited")(read)
    limited.post("/lower", max_body_bytes=10, endpoint="lower")(read)

    def largest(app: Flask, path: str) -> int:
        taken = [size for size in (10, 20, 30, 40) if send_chunked(app, path, b"a" * size).status_code == 200]
        assert taken == [size for size in (10, 20, 30, 40) if post(app, path, b"a" * size).status_code == 200]
        assert not any(send_chunked(app, path, b"a" * (size + 1)).status_code == 200 for size in taken[-1:])
        return taken[-1]

    with deployed(tmp_path, plain, limited, CONVEX_MAX_BODY_BYTES=20) as app:
        assert [largest(app, path) for path in ("/plain", "/own", "/limited", "/lower")] == [20, 40, 30, 10]
    with deployed(tmp_path, plain, limited, CONVEX_MAX_BODY_BYTES=20, MAX_CONTENT_LENGTH=10) as app:
        assert [largest(app, path) for path in ("/plain", "/own", "/limited", "/lower")] == [10, 40, 30, 10]


def test_unread_body_is_no_error(tmp_path: Path) -> None:
    """A handler that does not read the body may return, however large the body is."""
    http = HttpRouter("http", __name__, max_body_bytes=1)
    http.post("/x")(reader(lambda request: ""))
    with deployed(tmp_path, http) as app:
        assert post(app, "/x", b"a" * 100).status_code == send_chunked(app, "/x", b"a" * 100).status_code == 200


class SlowStream(io.RawIOBase):
    """A stream that returns less than requested, as sockets do."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._data.read(min(len(buffer), self._most))
        buffer[: len(got)] = got
        return len(got)


CALLS = st.lists(st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 12)), max_size=12)


@SAMPLED
@given(
    data=st.text("a\n", max_size=40), calls=CALLS, limit=st.integers(0, 40), most=st.integers(1, 9), known=st.booleans()
)
@settings(max_examples=examples(200), deadline=None)
def test_bounded_stream_reads_as_a_file_does(
    data: str, calls: list[tuple[str, int]], limit: int, most: int, known: bool
) -> None:
    """A bounded stream returns the body in order, whole or with an error, and nothing beyond the limit."""
    body = data.encode()
    stream = BoundedStream(SlowStream(body, most), limit, len(body) if known else None, "")
    got = b""
    try:
        for name, size in calls:
            piece = getattr(stream, name)(size)
            assert 0 <= size >= len(piece) or size < 0
            assert name == "read" or b"\n" not in piece[:-1]
            got += piece
        got += b"".join(stream)
        assert stream.read() == stream.readline() == b""
    except PayloadTooLargeError:
        assert len(body) > limit
        with pytest.raises(PayloadTooLargeError):
            stream.read()
        return
    assert got == body and len(body) <= limit


@given(lines=st.lists(st.integers(0, 200_000), max_size=4), hint=st.integers(-1, 100_000))
@settings(max_examples=25, deadline=None)
def test_bounded_stream_reads_lines(lines: list[int], hint: int) -> None:
    """Lines of any length are whole, and readlines() stops where a file's does."""
    body = b"".join(b"a" * length + b"\n" for length in lines)
    stream = BoundedStream(io.BytesIO(body), 10**6, None, "")
    assert stream.readlines(hint) == io.BytesIO(body).readlines(hint)


def test_truncated_stream_raises() -> None:
    """A stream that ends before the announced length raises on every read."""
    stream = BoundedStream(io.BytesIO(b"abc"), 100, 5, "")
    for _ in range(2):
        with pytest.raises(ClientDisconnected):
            stream.read()
