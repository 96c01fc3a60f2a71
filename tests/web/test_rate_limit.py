"""`@rate_limit`: the 429 response, the routes that share a limit, webhooks, and rejected arguments."""

import hashlib
import hmac
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    RegistrationError,
    WebhookEvent,
    internal_mutation,
    require_api_key,
)
from flask_convex_http.testing import Clock
from flask_convex_http.web.guards.rate_limit import rate_limit
from tests.web.apps import deployed, send
from tests.web.limits import MINUTE, count_allowed, limited_app, new_handler, status

# --- responses -------------------------------------------------------------------------------------------------------


def test_request_over_the_limit_is_429_with_retry_after(tmp_path: Path) -> None:
    """A request over the limit is a 429 in JSON with Retry-After, and succeeds after that time."""
    clock = Clock()
    with limited_app(tmp_path, clock, rate=10) as app:
        assert count_allowed(app) == 10
        response = send(app, "GET", "/x")
        assert response.status_code == 429
        assert response.json == {"error": "Rate limit exceeded; retry after 6 s"}
        assert response.headers["Retry-After"] == "6"
        clock.advance(timedelta(seconds=6))
        assert count_allowed(app) == 1
        clock.advance(timedelta(days=1))
        assert count_allowed(app) == 10


def test_capacity(tmp_path: Path) -> None:
    """A capacity allows more requests at once, and a period may be in seconds."""
    with limited_app(tmp_path, period=60, capacity=3) as app:
        assert count_allowed(app) == 3


def test_request_over_the_limit_does_not_run_the_handler(tmp_path: Path) -> None:
    """The handler runs for allowed requests only."""
    ran: list[str] = []
    http = HttpRouter("http", __name__)

    @http.get("/x")
    @rate_limit(rate=2, period=MINUTE)
    def handler(ctx: ActionCtx, request: Request) -> str:
        ran.append(request.path)
        return "ok"

    with deployed(tmp_path, http, clock=Clock()) as app:
        assert [status(app) for _ in range(4)] == [200, 200, 429, 429]
    assert ran == ["/x", "/x"]


def test_request_over_the_limit_writes_nothing(tmp_path: Path) -> None:
    """A request over the limit does not write to the database; an allowed one does."""
    http = HttpRouter("http", __name__)
    http.get("/x")(rate_limit(rate=2, period=MINUTE)(new_handler()))
    with deployed(tmp_path, http, clock=Clock(), CONVEX_DATABASE_URL="sqlite:///convex.db") as app:
        watcher = sqlite3.connect(tmp_path / "convex.db")
        try:
            versions = [watcher.execute("PRAGMA data_version").fetchone()[0]]
            for expected in (200, 200, 429, 429):
                assert status(app) == expected
                versions.append(watcher.execute("PRAGMA data_version").fetchone()[0])
        finally:
            watcher.close()
    assert versions[0] < versions[1] < versions[2] == versions[3] == versions[4]


def test_429_carries_cors_headers(tmp_path: Path) -> None:
    """A 429 carries the CORS headers, and preflights are neither limited nor counted."""
    site = "https://example.com"
    http = HttpRouter("http", __name__)
    http.get("/x", cors=site)(rate_limit(rate=1, period=MINUTE)(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        preflight_headers = {"HTTP_ORIGIN": site, "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
        assert [status(app, method="OPTIONS", **preflight_headers) for _ in range(3)] == [204, 204, 204]
        assert count_allowed(app, HTTP_ORIGIN=site) == 1
        response = send(app, "GET", "/x", HTTP_ORIGIN=site)
        assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (429, site)
        assert status(app, method="OPTIONS", **preflight_headers) == 204


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_each_route_has_its_own_limit(tmp_path: Path) -> None:
    """A handler on two routes has two limits, a name on two handlers makes one, and HEAD counts as GET."""
    http = HttpRouter("http", __name__)
    twice = rate_limit(rate=2, period=MINUTE)(new_handler())
    http.get("/a")(twice)
    http.get("/b")(twice)
    for path in ("c", "d"):
        http.get(f"/{path}", endpoint=path)(rate_limit(rate=2, period=MINUTE, name="shared")(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        assert [count_allowed(app, "/a"), count_allowed(app, "/b")] == [2, 2]
        assert [count_allowed(app, "/c"), count_allowed(app, "/d")] == [2, 0]
        assert send(app, "GET", "/c").json == {"error": "Rate limit exceeded; retry after 30 s"}
    with limited_app(tmp_path) as app:
        assert [status(app, method="HEAD"), status(app)] == [200, 429]


def test_two_limits_on_one_handler(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A handler may have several named limits, and a request must be within all. The log names the one exceeded."""
    caplog.set_level(logging.INFO, "flask_convex_http")
    http = HttpRouter("http", __name__)
    clock = Clock()

    @http.get("/x")
    @rate_limit(rate=2, period=MINUTE, name="minute")
    @rate_limit(rate=3, period=timedelta(hours=1), name="hour")
    def handler(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with deployed(tmp_path, http, clock=clock) as app:
        assert count_allowed(app) == 2
        assert status(app) == 429
        assert "Rate limit minute" in caplog.records[-1].getMessage()
        clock.advance(MINUTE)
        assert status(app) == 200
        assert status(app) == 429
        assert "Rate limit hour" in caplog.records[-1].getMessage()


def test_arguments_of_the_route_reach_the_handler(tmp_path: Path) -> None:
    """The suffix of a prefix and the values of converters reach the handler below a limit."""
    http = HttpRouter("http", __name__)

    @http.get(path_prefix="/below/")
    @rate_limit(rate=2, period=MINUTE)
    def below(ctx: ActionCtx, request: Request, rest: str) -> str:
        return rest

    @http.get("/items/<int:number>")
    @rate_limit(rate=2, period=MINUTE)
    def item(ctx: ActionCtx, request: Request, number: int) -> str:
        return str(number + 1)

    with deployed(tmp_path, http, clock=Clock()) as app:
        assert send(app, "GET", "/below/a/b").text == "a/b"
        assert send(app, "GET", "/items/16").text == "17"
        assert [status(app, "/below/a"), status(app, "/below/b")] == [200, 429]
        assert [status(app, "/items/1"), status(app, "/items/2")] == [200, 429]


def test_async_handler(tmp_path: Path) -> None:
    """An async handler runs to its end below a limit."""
    http = HttpRouter("http", __name__)

    @http.get("/x")
    @rate_limit(rate=1, period=MINUTE)
    async def handler(ctx: ActionCtx, request: Request) -> str:
        return request.path

    with deployed(tmp_path, http, clock=Clock()) as app:
        assert send(app, "GET", "/x").text == "/x"
        assert status(app) == 429


def test_concurrent_requests(tmp_path: Path) -> None:
    """Of concurrent requests exactly as many are allowed as there are tokens."""
    statuses: list[int] = []
    with limited_app(tmp_path, rate=10) as app:

        def work() -> None:
            statuses.extend(status(app) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (statuses.count(200), statuses.count(429)) == (10, 30)


# --- webhooks --------------------------------------------------------------------------------------------------------


SECRET = "a secret of the tests"


def deliver(app: Flask, secret: str = SECRET, number: int = 1, **environ: Any) -> TestResponse:
    """Send a delivery that is signed with this secret."""
    body = b'{"id": "evt_%d", "type": "order.paid"}' % number
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return send(app, "POST", "/hook", body, HTTP_X_SIGNATURE=signature, CONTENT_LENGTH=str(len(body)), **environ)


@contextmanager
def limited_webhook(folder: Path, handler: Callable[[MutationCtx, WebhookEvent], Any]) -> Iterator[Flask]:
    """Yield an app with a webhook that accepts one delivery a minute from each address."""
    http = HttpRouter("http", __name__)
    sender = HmacSignature(secret=SECRET, header="X-Signature", id_field="id", type_field="type")
    http.webhook("/hook", sender)(rate_limit(rate=1, period=MINUTE)(handler))
    with deployed(folder, http, clock=Clock()) as app:
        yield app


def test_webhook_takes_the_token_in_its_own_transaction(tmp_path: Path) -> None:
    """On a webhook, only a verified delivery that commits takes a token; a delivery over the limit is a 429."""
    fails = [True, True, False]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        if fails.pop(0):
            raise ConvexError("not now", status=503)

    with limited_webhook(tmp_path, handler) as app:
        assert deliver(app, secret="another").status_code == 400
        assert [deliver(app).status_code for _ in range(3)] == [503, 503, 200]
        assert [deliver(app, number=number).status_code for number in (1, 2)] == [200, 429]  # a duplicate takes none
        assert deliver(app, number=2).headers["Retry-After"] == "60"
        assert deliver(app, secret="another").status_code == 400


def test_concurrent_deliveries(tmp_path: Path) -> None:
    """Concurrent deliveries of several senders are each counted for their own sender."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        return None

    statuses: list[list[int]] = []
    with limited_webhook(tmp_path, handler) as app:

        def work(address: str) -> None:
            numbers = (int(address[-1]), 8 + int(address[-1]))
            statuses.append([deliver(app, number=number, REMOTE_ADDR=address).status_code for number in numbers])

        threads = [threading.Thread(target=work, args=(f"192.0.2.{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [[200, 429]] * 8


# --- rejected arguments ----------------------------------------------------------------------------------------------


def test_limit_above_the_route_is_rejected() -> None:
    """The decorator above the route, where it would have no effect, raises RegistrationError."""
    handler = HttpRouter("http", __name__).get("/x")(new_handler())
    with pytest.raises(RegistrationError, match="put the decorator below the route"):
        rate_limit(rate=1, period=MINUTE)(handler)


@pytest.mark.parametrize("name", [None, "same"])
def test_two_limits_of_one_name_are_rejected(name: str | None) -> None:
    """Two limits of one name on one handler raise RegistrationError, also with a check between them."""
    inner = require_api_key(rate_limit(rate=1, period=MINUTE, name=name)(new_handler()))
    with pytest.raises(RegistrationError, match=r"ok has two rate limits .* give each a name= of its own"):
        rate_limit(rate=10, period=timedelta(days=1), name=name)(inner)


@pytest.mark.parametrize(
    "options",
    [{"rate": 0}, {"period": timedelta(0)}, {"capacity": 0.5}, {"name": ""}, {"name": "a\nb"}, {"key": "user"}],
    ids=str,
)
def test_invalid_limits_are_rejected(options: dict[str, Any]) -> None:
    """A limit that cannot work raises RegistrationError at the decorator."""
    chosen: dict[str, Any] = {"rate": 1, "period": MINUTE} | options
    with pytest.raises(RegistrationError):
        rate_limit(**chosen)


def test_async_key_is_rejected() -> None:
    """An async key raises RegistrationError, because the key is needed before the handler runs."""

    async def key(request: Request) -> str:
        return "ada"

    with pytest.raises(RegistrationError, match="not async"):
        rate_limit(rate=1, period=MINUTE, key=key)  # type: ignore[arg-type]


def flask_view() -> str:
    """Return a response; a view is no handler, because it takes no ctx."""
    return "ok"


@internal_mutation
def change(ctx: MutationCtx, *, name: str) -> None: ...


def item(item_id: int) -> None: ...


def test_limit_on_a_mutation_is_rejected() -> None:
    """On a mutation the decorator raises RegistrationError, which suggests `ctx.rate_limit`."""
    with pytest.raises(RegistrationError, match=r"not for change; inside a function write ctx\.rate_limit"):
        rate_limit(rate=1, period=MINUTE)(change)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (flask_view, "def flask_view(ctx: ActionCtx, request: Request)"),
        (item, "def item(ctx: ActionCtx, request: Request, item_id: int)"),
    ],
)
def test_limit_on_a_view_is_rejected(function: Any, line: str) -> None:
    """On a function without a ctx and a request the decorator raises RegistrationError, which has the line to write."""
    with pytest.raises(RegistrationError, match="takes neither a ctx nor a request") as refused:
        rate_limit(rate=1, period=MINUTE)(function)
    assert line in str(refused.value)


def test_key_of_two_parameters_is_rejected() -> None:
    """A key with more parameters than the request raises RegistrationError."""
    with pytest.raises(RegistrationError, match="must be a function of the request"):
        rate_limit(rate=1, period=MINUTE, key=lambda ctx, request: "ada")  # type: ignore[arg-type,misc]


def test_missing_arguments_are_named() -> None:
    """@rate_limit without arguments raises a TypeError that names them."""
    with pytest.raises(TypeError, match="'rate' and 'period'"):
        rate_limit(new_handler())  # type: ignore[call-arg,arg-type]
