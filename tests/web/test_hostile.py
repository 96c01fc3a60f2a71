"""No request from outside causes a server error in the example application."""

import hashlib
import hmac
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import run_wsgi_app

from example_app import convex, create_app
from example_app.schema import schema
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, temporary_config
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

FUZZ = settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
GITHUB_SECRET = "a secret of the tests"
ENVIRONMENT = {
    "FLASK_CONVEX_SITE_URL": "http://localhost",
    "FLASK_CONVEX_MAX_BODY_BYTES": "4000",
    "STRIPE_WEBHOOK_SECRET": "whsec_" + "a" * 32,
    "GITHUB_WEBHOOK_SECRET": GITHUB_SECRET,
    "CLERK_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}

Environ = dict[str, Any]


@contextmanager
def running() -> Iterator[tuple[Flask, list[str]]]:
    """Yield the migrated example application, and credentials and URLs that a client could know."""
    with pytest.MonkeyPatch.context() as environment, temporary_config(schema) as database:
        for name, value in (ENVIRONMENT | {f"FLASK_{name}": url for name, url in database.items()}).items():
            environment.setenv(name, value)
        app = create_app()
        backend = backend_of(app)
        try:
            with app.app_context():
                convex.migrate()
            key, _ = backend.api_keys.create(name="a")
            token, _ = backend.tokens.create(subject="a")
            storage = backend.ctx(site=str).storage  # paths without a host
            file_id = storage.store(b"0123456789", content_type="application/pdf", name="a.pdf")
            direct = storage.generate_direct_upload("text/html", name="a.html", max_bytes=100)
            files = [storage.get_url(file_id) or "", storage.get_url(file_id, inline=True) or ""]
            uploads = [storage.generate_upload_url(), storage.generate_upload_url(max_bytes=100, content_types=["a/*"])]
            yield app, [key, f"Bearer {token}", file_id, *files, *uploads, direct.upload_url, direct.finish_url]
        finally:
            backend.close()


# --- requests --------------------------------------------------------------------------------------------------------

LATIN = st.text(st.characters(max_codepoint=255), max_size=40)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "get"])
SEGMENTS = st.sampled_from(
    ["", ".", "..", "api", "items", "users", "files", "form", "data", "upload", "storage", "webhooks", "stripe"]
) | st.text(max_size=10)
FIELDS = st.sampled_from(["name", "description", "data", "id", "type", "object", "email", "__proto__", "_id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | FIELDS, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.builds(json.dumps, JSON).map(str.encode),
    st.fixed_dictionaries({"name": JSON}, optional={"description": JSON, "data": JSON}).map(json.dumps).map(str.encode),
    st.sampled_from(
        [
            b"[" * 3000,
            b"x" * 5000,
            b'{"name": "\\ud800"}',
            b'{"name": "\\u0000", "data": 1e400}',
            b'{"data": %d}' % 10**300,
            b"name=a&email=%ff%00",
            b'--B\r\nContent-Disposition: form-data; name="name"\r\n\r\na\r\n--B--',
            b"--B\r\n\xff: x\r\n\r\n",
        ]
    ),
)
TYPES = st.sampled_from(
    [
        "application/json",
        "application/json; charset=\xff",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=B",
        "multipart/form-data",
        "text/html\r\nX: y",
        "",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "HOST",
            "ORIGIN",
            "ACCESS_CONTROL_REQUEST_METHOD",
            "ACCESS_CONTROL_REQUEST_HEADERS",
            "AUTHORIZATION",
            "X_API_KEY",
            "IDEMPOTENCY_KEY",
            "COOKIE",
            "RANGE",
            "IF_RANGE",
            "IF_NONE_MATCH",
            "IF_MODIFIED_SINCE",
            "ACCEPT",
            "DIGEST",
            "CONTENT_DIGEST",
            "CONTENT_DISPOSITION",
            "X_FILENAME",
            "TRANSFER_ENCODING",
            "X_REQUEST_ID",
            "X_FORWARDED_FOR",
            "STRIPE_SIGNATURE",
            "SVIX_ID",
            "SVIX_TIMESTAMP",
            "SVIX_SIGNATURE",
            "X_HUB_SIGNATURE_256",
            "X_GITHUB_DELIVERY",
            "X_GITHUB_EVENT",
        ]
    ),
    LATIN
    | st.sampled_from(
        [
            "*",
            "bytes=0-3",
            "bytes=-",
            "1e9",
            "t=1,v1=a",
            "v1,a",
            "sha256=",
            "sha-256=:=:",
            "Bearer",
            "Bearer a.b.c",
            "bearer\te30.e30.",
            "Basic Og==",
            "k" * 10_000,
            '"k"; a=1',
            "chunked",
            "a; filename*=x''%ff",
        ]
    ),
    max_size=5,
).map(lambda headers: {f"HTTP_{name}": value for name, value in headers.items()})


def environ_of(
    method: str, path: str, query: str, headers: Environ, body: bytes, content_type: str, length: str
) -> Environ:
    """Return the WSGI variables as a server sets them, with bytes as Latin-1."""
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode("utf-8", "replace").decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": content_type,
        **({"CONTENT_LENGTH": str(len(body))} if length == "right" else {"CONTENT_LENGTH": length} if length else {}),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **({"wsgi.input_terminated": True} if not length else {}),
        **headers,
    }


def status_of(app: Flask, environ: Environ) -> int:
    """Return the status of the response, after checking that a server could send its headers."""
    chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
    assert sum(len(chunk) for chunk in chunks) >= 0
    for name, value in headers:
        assert not {"\r", "\n", "\0"} & set(name + value)
        (name + value).encode("latin-1")
    return int(status.split()[0])


LENGTHS = st.sampled_from(["right", "right", "", "0", "3", "99", "-1", "abc", "9" * 40])


@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@SAMPLED
def test_no_request_causes_a_server_error() -> None:
    """Any method, path, query, headers and body have a status below 500 and headers that can be sent."""
    with running() as (app, known):
        paths = [rule.rule for rule in app.url_map.iter_rules()] + [url.partition("?")[0] for url in known[3:]]
        queries = [url.partition("?")[2] for url in known[3:]]
        anywhere = st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts))

        @given(
            method=METHODS,
            path=st.sampled_from(paths) | anywhere | st.text(max_size=20),
            query=st.sampled_from(queries) | LATIN | st.sampled_from(["limit=9999999999", "limit=%00", "filter=%ff&a"]),
            headers=HEADERS,
            known_headers=st.booleans(),
            body=BODIES,
            content_type=TYPES | LATIN,
            length=LENGTHS,
        )
        @FUZZ
        def check(known_headers: bool, headers: Environ, **parts: Any) -> None:
            more = {"HTTP_X_API_KEY": known[0], "HTTP_AUTHORIZATION": known[1]} if known_headers else {}
            environ = environ_of(headers={**headers, **more}, **parts)
            assert status_of(app, environ) < 500, environ

        check()


@SAMPLED
def test_no_signed_webhook_causes_a_server_error() -> None:
    """Any content that is signed as GitHub's has a status below 500."""
    with running() as (app, _):

        @given(body=BODIES, event=LATIN, delivery=LATIN, content_type=TYPES)
        @settings(max_examples=examples(100), deadline=None)
        def check(body: bytes, event: str, delivery: str, content_type: str) -> None:
            headers = {
                "HTTP_X_HUB_SIGNATURE_256": "sha256="
                + hmac.new(GITHUB_SECRET.encode(), body, hashlib.sha256).hexdigest(),
                "HTTP_X_GITHUB_EVENT": event,
                "HTTP_X_GITHUB_DELIVERY": delivery,
            }
            environ = environ_of("POST", "/webhooks/github", "", headers, body, content_type, "right")
            assert status_of(app, environ) < 500, environ

        check()
