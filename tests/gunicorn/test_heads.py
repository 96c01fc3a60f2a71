"""Plain heads are parsed as gunicorn parses them, and all others by gunicorn."""

from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.body import LengthReader  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.http.message import Request  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.gunicorn import heads
from flask_convex_http.gunicorn.bodies import ArrivedBody, is_read
from flask_convex_http.gunicorn.heads import PlainRequest
from tests.lengths import SAMPLED, examples

CLIENT = ("127.0.0.1", 5000)
NAMES = (
    "Host",
    "host",
    "Accept",
    "X-Forwarded-Proto",
    "X-Forwarded-For",
    "Expect",
    "Content-Type",
    "Connection",
    "A_B",
)
FRAMING = ("Content-Length: 3", "Content-Length: x", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", " folded")
VALUES = ("", "a", " a ", "\ta b\t", "https", "100-continue", "close", "é", "\x00", "\x7f", "a\nb", "a\rb", "a:b")

fields = st.builds("{}:{}".format, st.sampled_from(NAMES), st.sampled_from(VALUES)) | st.sampled_from(FRAMING)
targets = st.sampled_from(
    ("/", "/a?b=c", "/a?", "/a?b?c", "//a//b", "/a%20b", "/a#b", "*", "a", "http://h/p", "/é", "/a b", "/[")
) | st.text("/?#=&%aé:@[]", max_size=8)
lines = st.builds(
    "{} {} {}".format,
    st.sampled_from(("GET", "POST", "OPTIONS", "get", "G", "CONNECT", "PROPFIND")),
    targets,
    st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1")),
)
requests = st.builds(
    lambda line, own, end: "\r\n".join([line, *own]) + end,
    lines,
    st.lists(fields, max_size=5),
    st.sampled_from(("\r\n\r\n", "\r\n\r\nabcdef", "\r\n\r\nabcGET / HTTP/1.1\r\n\r\n", "\n\n", "\r\n", "")),
).map(lambda text: text.encode("latin-1"))


def config_of(**settings: Any) -> Any:
    """Return gunicorn's settings."""
    config = Config()
    for name, value in settings.items():
        config.set(name, value)
    return config


def parse(kind: type[Request], data: bytes, config: Any) -> Any:
    """Return the request in some bytes.

    Raises:
        Exception: An error of gunicorn's parser.
    """
    parser = RequestParser(config, [data], CLIENT)
    parser.mesg_class = kind
    return next(parser)


def parsed(kind: type[Request], data: bytes, **settings: Any) -> Any:
    """Return all that a request holds, or the error."""
    try:
        request = parse(kind, data, config_of(**settings))
    except (Exception, StopIteration) as error:
        return type(error), str(error)
    names = ("method", "uri", "path", "query", "fragment", "version", "headers", "scheme", "must_close")
    kept = [getattr(request, name) for name in names]
    framing = LengthReader if isinstance(request.body, ArrivedBody) else type(request.body.reader)
    return [*kept, request._expected_100_continue, framing, _body_of(request)]


def _body_of(request: Any) -> Any:
    """Return the body, or its error."""
    try:
        return request.body.read()
    except (OSError, ParseException) as error:  # without the rest of the body
        return type(error), str(error)


@SAMPLED
@settings(max_examples=examples(2000, sample=150))
@given(requests)
def test_any_head_is_parsed_as_gunicorn_does(data: bytes) -> None:
    """Each part of a request is the same as with gunicorn's parser, and so is each error."""
    assert parsed(PlainRequest, data) == parsed(Request, data)


@pytest.mark.parametrize(
    "limits",
    [
        {"limit_request_line": 20},
        {"limit_request_fields": 2},
        {"limit_request_field_size": 30},
        {"forwarded_allow_ips": "10.0.0.1"},
        {"proxy_protocol": "auto"},
        {"header_map": "dangerous"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "extra", ["", "X-Forwarded-Proto: https\r\n", "A: b\r\nB: c\r\n", f"A: {'b' * 40}\r\n", "A_B: c\r\n"]
)
def test_settings_hold_for_plain_heads(limits: dict[str, Any], extra: str) -> None:
    """gunicorn's limits and its trust in proxies hold for plain heads too."""
    data = f"GET /a?b=c HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode()
    assert parsed(PlainRequest, data, **limits) == parsed(Request, data, **limits)


def test_a_usual_head_is_plain() -> None:
    """The heads of curl, of a browser and of a webhook's sender are matched as a whole."""
    for data in (
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n",
        b"POST /webhooks/stripe?a=b%20c HTTP/1.1\r\nHost: a\r\nStripe-Signature: t=1\r\nContent-Length: 2\r\n\r\n{}",
        b'GET / HTTP/1.1\r\nHost: a:1\r\nsec-ch-ua: "A";v="1"\r\nCookie: a=b; c="d"\r\nAccept-Language: de\r\n\r\n',
    ):
        assert heads._PLAIN.match(data)


@pytest.mark.parametrize("is_taken", [True, False], ids=["read", "not read"])
def test_a_body_that_has_arrived_is_taken_from_its_connection(is_taken: bool) -> None:
    """A body in the packets of its head is in memory, and the next request begins behind it."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    parser = RequestParser(Config(), [head + b"abc" + head + b"de", b"f"], CLIENT)
    parser.mesg_class = PlainRequest
    first = next(parser)
    assert isinstance(first.body, ArrivedBody)
    assert is_read(first.body)
    if is_taken:
        assert (first.body.read(2), first.body.read(), first.body.read()) == (b"ab", b"c", b"")
    second = next(parser)
    assert not isinstance(second.body, ArrivedBody)
    assert not is_read(second.body)
    assert second.body.read() == b"def"
    assert is_read(second.body)
