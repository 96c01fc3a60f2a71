"""The WSGI environment of each request is that of gunicorn."""

import io
import logging
from typing import Any, NamedTuple

import pytest
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.http.message import Request  # type: ignore[import-untyped]
from hypothesis import example, given, settings

from flask_convex_http.gunicorn.environs import Environs
from flask_convex_http.gunicorn.heads import PlainRequest
from tests.gunicorn.test_heads import CLIENT, config_of, parse, requests
from tests.lengths import SAMPLED, examples

USUAL = (
    b"POST /a/b?c=d HTTP/1.1\r\nHost: a:1\r\nX-Two: b\r\nx-two: c\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
    b"\r\n{}"
)
_OBJECTS = ("wsgi.errors", "wsgi.early_hints", "wsgi.input")


class Socket:
    """A socket to which the response is written."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> int:
        """Keep some bytes."""
        self.sent += data
        return len(data)


class Connection(NamedTuple):
    """A connection as gunicorn has it."""

    sock: Socket
    client: Any = CLIENT
    server: Any = ("127.0.0.1", 8000)


def _environ(data: bytes, config: Any, conn: Connection, *, is_own: bool) -> Any:
    """Return the environment of a request and the bytes sent for it, or the error."""
    conn.sock.sent = b""
    try:
        request = parse(PlainRequest if is_own else Request, data, config)
    except (Exception, StopIteration) as error:
        return type(error), str(error)
    if is_own:
        _, environ = Environs(config).create(request, conn)
    else:
        _, environ = wsgi.create(request, conn.sock, conn.client, conn.server, config)
    assert all(environ.get(name) is not None for name in _OBJECTS)
    return {name: value for name, value in environ.items() if name not in _OBJECTS}, conn.sock.sent


@SAMPLED
@settings(max_examples=examples(2000, sample=150))
@given(requests)
@example(b"GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")
def test_any_environment_is_that_of_gunicorn(data: bytes) -> None:
    """Each name and value of the environment is the same as with gunicorn's own function."""
    config, conn = config_of(), Connection(Socket())
    assert _environ(data, config, conn, is_own=True) == _environ(data, config, conn, is_own=False)


@pytest.mark.parametrize("client", [CLIENT, ("::1", 1, 0, 0), "", b""], ids=["IPv4", "IPv6", "Unix", "Unix bytes"])
@pytest.mark.parametrize("server", [("127.0.0.1", 80), ("::1", 80, 0, 0), "/run/app.sock", "a:1"], ids=str)
@pytest.mark.parametrize(
    "data", [USUAL, USUAL.replace(b"/b", b"/%C3%A9"), b"GET / HTTP/1.0\r\n\r\n"], ids=["plain", "%", "1.0"]
)
def test_addresses_are_those_of_gunicorn(client: Any, server: Any, data: bytes) -> None:
    """Each kind of address gives the same environment."""
    config, conn = config_of(workers=2, forwarded_allow_ips="*"), Connection(Socket(), client, server)
    assert _environ(data, config, conn, is_own=True) == _environ(data, config, conn, is_own=False)


def test_a_prefix_of_the_path_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable SCRIPT_NAME holds for each request."""
    monkeypatch.setenv("SCRIPT_NAME", "/a")
    conn = Connection(Socket())
    environ, _ = _environ(USUAL, config_of(), conn, is_own=True)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a", "/b")


def test_errors_are_written_to_the_streams_of_now() -> None:
    """`wsgi.errors` writes to the streams that gunicorn's error log has when something is written."""
    config = config_of(errorlog="-")
    Logger(config)
    request = parse(PlainRequest, USUAL, config)
    _, environ = Environs(config).create(request, Connection(Socket()))
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("gunicorn.error")
    logger.addHandler(handler)
    try:
        print("a line", file=environ["wsgi.errors"])
    finally:
        logger.removeHandler(handler)
    assert handler.stream.getvalue() == "a line\n"
