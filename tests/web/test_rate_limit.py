"""`@rate_limit`: what those who come too often are answered, which routes share a limit, and what is refused."""

import hashlib
import hmac
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
from flask_convex_http.web.rate_limit import rate_limit
from tests.web.apps import deployed, send
from tests.web.limits import MINUTE, limited, new_handler, passed, status

# --- the answer ------------------------------------------------------------------------------------------------------


def test_refusal_is_429_with_retry_after(tmp_path: Path) -> None:
    """Who comes too often is answered 429 in JSON with the seconds to wait, and is let through after them."""
    clock = Clock()
    with limited(tmp_path, clock, rate=10) as app:
        assert passed(app) == 10
        refused = send(app, "GET", "/x")
        assert refused.status_code == 429
        assert refused.json == {"error": "Rate limit http.ok exceeded; retry after 6 s"}
        assert refused.headers["Retry-After"] == "6"
        clock.advance(timedelta(seconds=6))
        assert passed(app) == 1
        clock.advance(timedelta(days=1))
        assert passed(app) == 10


def test_capacity(tmp_path: Path) -> None:
    """A capacity lets more through at once, and a period may be in seconds."""
    with limited(tmp_path, period=60, capacity=3) as app:
        assert passed(app) == 3


def test_refused_request_does_not_run_the_handler(tmp_path: Path) -> None:
    """A handler runs for those who are let through, and for nobody else."""
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


def test_refused_request_writes_nothing(tmp_path: Path) -> None:
    """A request that is refused does not change the database; one that is let through does."""
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


def test_refusal_carries_cors_headers(tmp_path: Path) -> None:
    """A page of another origin may read the refusal, and preflights are neither limited nor counted."""
    site = "https://example.com"
    http = HttpRouter("http", __name__)
    http.get("/x", cors=site)(rate_limit(rate=1, period=MINUTE)(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        asked = {"HTTP_ORIGIN": site, "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
        assert [status(app, method="OPTIONS", **asked) for _ in range(3)] == [204, 204, 204]
        assert passed(app, HTTP_ORIGIN=site) == 1
        refused = send(app, "GET", "/x", HTTP_ORIGIN=site)
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (429, site)
        assert status(app, method="OPTIONS", **asked) == 204


# --- which bucket ----------------------------------------------------------------------------------------------------


def test_each_route_has_its_own_limit(tmp_path: Path) -> None:
    """One handler on two routes has two limits, one name on two handlers makes one; HEAD counts as GET."""
    http = HttpRouter("http", __name__)
    twice = rate_limit(rate=2, period=MINUTE)(new_handler())
    http.get("/a")(twice)
    http.get("/b")(twice)
    for path in ("c", "d"):
        http.get(f"/{path}", endpoint=path)(rate_limit(rate=2, period=MINUTE, name="shared")(new_handler()))
    with deployed(tmp_path, http, clock=Clock()) as app:
        assert [passed(app, "/a"), passed(app, "/b")] == [2, 2]
        assert [passed(app, "/c"), passed(app, "/d")] == [2, 0]
        assert send(app, "GET", "/c").json == {"error": "Rate limit shared exceeded; retry after 30 s"}
    with limited(tmp_path) as app:
        assert [status(app, method="HEAD"), status(app)] == [200, 429]


def test_two_limits_on_one_handler(tmp_path: Path) -> None:
    """A handler may have several limits, each with a name; who is let through has passed them all."""
    http = HttpRouter("http", __name__)
    clock = Clock()

    @http.get("/x")
    @rate_limit(rate=2, period=MINUTE, name="minute")
    @rate_limit(rate=3, period=timedelta(hours=1), name="hour")
    def handler(ctx: ActionCtx, request: Request) -> str:
        return "ok"

    with deployed(tmp_path, http, clock=clock) as app:
        assert passed(app) == 2
        assert "Rate limit minute" in send(app, "GET", "/x").text
        clock.advance(MINUTE)
        assert status(app) == 200
        assert "Rate limit hour" in send(app, "GET", "/x").text


def test_arguments_of_the_route_reach_the_handler(tmp_path: Path) -> None:
    """The rest of a prefix and the values of converters come to the handler as without a limit."""
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


def test_requests_at_once(tmp_path: Path) -> None:
    """Of many requests at once as many are let through as there are tokens."""
    answers: list[int] = []
    with limited(tmp_path, rate=10) as app:

        def work() -> None:
            answers.extend(status(app) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (answers.count(200), answers.count(429)) == (10, 30)


# --- webhooks --------------------------------------------------------------------------------------------------------


SECRET = "a secret of the tests"


def deliver(app: Flask, secret: str = SECRET, number: int = 1, **environ: Any) -> TestResponse:
    """A delivery of an event, signed with a secret."""
    body = b'{"id": "evt_%d", "type": "order.paid"}' % number
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return send(app, "POST", "/hook", body, HTTP_X_SIGNATURE=signature, CONTENT_LENGTH=str(len(body)), **environ)


@contextmanager
def limited_webhook(folder: Path, handler: Callable[[MutationCtx, WebhookEvent], Any]) -> Iterator[Flask]:
    """An app with a webhook that takes one delivery a minute of each address."""
    http = HttpRouter("http", __name__)
    sender = HmacSignature(secret=SECRET, header="X-Signature", id_field="id", type_field="type")
    http.webhook("/hook", sender)(rate_limit(rate=1, period=MINUTE)(handler))
    with deployed(folder, http, clock=Clock()) as app:
        yield app


def test_webhook_takes_the_token_in_its_own_transaction(tmp_path: Path) -> None:
    """On a webhook what is not verified or fails takes no token, and a delivery too many is answered 429."""
    fails = [True, True, False]

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        if fails.pop(0):
            raise ConvexError("not now", status=503)

    with limited_webhook(tmp_path, handler) as app:
        assert deliver(app, secret="another").status_code == 400
        assert [deliver(app).status_code for _ in range(3)] == [503, 503, 200]
        assert [deliver(app, number=number).status_code for number in (1, 2)] == [200, 429]  # a copy takes none
        assert deliver(app, number=2).headers["Retry-After"] == "60"
        assert deliver(app, secret="another").status_code == 400


def test_webhooks_at_once(tmp_path: Path) -> None:
    """Deliveries of several senders at once are each counted for their own sender."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        return None

    answers: list[list[int]] = []
    with limited_webhook(tmp_path, handler) as app:

        def work(address: str) -> None:
            numbers = (int(address[-1]), 8 + int(address[-1]))
            answers.append([deliver(app, number=number, REMOTE_ADDR=address).status_code for number in numbers])

        threads = [threading.Thread(target=work, args=(f"192.0.2.{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[200, 429]] * 8


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_limit_above_the_route_is_refused() -> None:
    """Above the route, where it would do nothing, the decorator is refused."""
    handler = HttpRouter("http", __name__).get("/x")(new_handler())
    with pytest.raises(RegistrationError, match="put the decorator below the route"):
        rate_limit(rate=1, period=MINUTE)(handler)


@pytest.mark.parametrize("name", [None, "same"])
def test_two_limits_of_one_name_are_refused(name: str | None) -> None:
    """Two limits on one handler that would share their buckets are refused, also with a check between them."""
    inner = require_api_key(rate_limit(rate=1, period=MINUTE, name=name)(new_handler()))
    with pytest.raises(RegistrationError, match=r"ok has two rate limits .* give each a name= of its own"):
        rate_limit(rate=10, period=timedelta(days=1), name=name)(inner)


@pytest.mark.parametrize(
    "options",
    [{"rate": 0}, {"period": timedelta(0)}, {"capacity": 0.5}, {"name": ""}, {"name": "a\nb"}, {"key": "user"}],
    ids=str,
)
def test_limits_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """What cannot work is refused when it is written, not when the first request comes."""
    chosen: dict[str, Any] = {"rate": 1, "period": MINUTE} | options
    with pytest.raises(RegistrationError):
        rate_limit(**chosen)


def test_async_key_is_refused() -> None:
    """A key has to be there before the handler runs, so it is not async."""

    async def key(request: Request) -> str:
        return "ada"

    with pytest.raises(RegistrationError, match="not async"):
        rate_limit(rate=1, period=MINUTE, key=key)  # type: ignore[arg-type]


def view_of_flask() -> str:
    """No handler: a view takes no ctx."""
    return "ok"


@internal_mutation
def change(ctx: MutationCtx, *, name: str) -> None: ...


@pytest.mark.parametrize("function", [view_of_flask, change], ids=["a view", "a mutation"])
def test_what_is_no_handler_is_refused(function: Any) -> None:
    """On a view of Flask, where it would do nothing, and on a mutation it is refused; the error says what to write."""
    with pytest.raises(RegistrationError, match=r"take \(ctx, request\), not for .*write ctx\.rate_limit"):
        rate_limit(rate=1, period=MINUTE)(function)


def test_key_of_two_parameters_is_refused() -> None:
    """A key that wants more than the request is refused where it is written."""
    with pytest.raises(RegistrationError, match="must be a function of the request"):
        rate_limit(rate=1, period=MINUTE, key=lambda ctx, request: "ada")  # type: ignore[arg-type,misc]


def test_without_parentheses_it_says_what_is_missing() -> None:
    """@rate_limit alone is an error that names the arguments."""
    with pytest.raises(TypeError, match="'rate' and 'period'"):
        rate_limit(new_handler())  # type: ignore[call-arg,arg-type]
