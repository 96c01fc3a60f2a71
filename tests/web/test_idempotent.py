"""Idempotent routes over HTTP: keys, their requests, and the options refused at registration."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Response

from flask_convex_http import (
    ActionCtx,
    HttpRouter,
    MutationCtx,
    rate_limit,
    require_api_key,
)
from flask_convex_http.errors import RegistrationError
from flask_convex_http.schema.system_tables import IdempotencyKey
from flask_convex_http.testing import Clock
from tests.idempotency.shop import Order, app_of, count, handler, orders, post, router
from tests.web.apps import backend_of, send


def test_key_may_be_quoted(tmp_path: Path) -> None:
    """A key as a Structured Fields string, with or without parameters, equals the bare key."""
    with app_of(tmp_path, router()) as app:
        first = post(app, "k1")
        assert [post(app, same).data for same in ('"k1"', ' "k1" ', '"k1"; note="x";a', " k1")] == [first.data] * 4
        assert post(app, '"k\\"1"').data != first.data


@pytest.mark.parametrize("what", ["body", "path", "query", "method"])
def test_key_of_another_request_is_422(tmp_path: Path, what: str) -> None:
    """A key that was used with another body, path, query string or method is 422, and nothing runs."""
    http = HttpRouter("http", __name__)
    http.route("/orders", methods=["POST", "PUT"], idempotent=True)(handler())
    http.post("/others", idempotent=True, endpoint="others")(handler())
    with app_of(tmp_path, http) as app:
        post(app)
        path = {"path": "/others", "query": "/orders?dry=1"}.get(what, "/orders")
        method = "PUT" if what == "method" else "POST"
        body = {"item": "Chair" if what == "body" else "Lamp"}
        other = app.test_client().open(path, method=method, json=body, headers={"Idempotency-Key": "k1"})
        assert (other.status_code, orders(app)) == (422, 1)


def test_order_of_json_fields_does_not_matter(tmp_path: Path) -> None:
    """A retry whose JSON has the same values in another order and with other blanks is a retry."""
    with app_of(tmp_path, router()) as app:
        headers = {"Idempotency-Key": "k1", "Content-Type": "application/json"}
        first = app.test_client().post("/orders", data='{"item":"Lamp","price":1.10}', headers=headers)
        retry = app.test_client().post("/orders", data='{ "price": 1.10, "item": "Lamp" }', headers=headers)
        other = app.test_client().post("/orders", data='{"item":"Lamp","price":1.11}', headers=headers)
        assert (first.data, other.status_code) == (retry.data, 422)


def test_missing_key(tmp_path: Path) -> None:
    """Without a key the response is 400, and with idempotent="optional" the handler runs each time."""
    http = router()
    http.post("/optional", idempotent="optional", endpoint="optional")(handler())
    with app_of(tmp_path, http) as app:
        refused = post(app, None)
        assert (refused.status_code, orders(app)) == (400, 0)
        assert "Idempotency-Key is missing" in refused.get_json()["error"]
        assert {post(app, None, path="/optional").status_code for _ in range(2)} == {201}
        assert (orders(app), count(app, IdempotencyKey)) == (2, 0)


HOSTILE = [
    "",
    " ",
    '"',
    '"a',
    'a"',
    '""',
    '"a" b',
    "a,b",
    '"a","b"',
    "a b",
    "k" * 256,
    "k" * 10_000,
    "\x7f",
    "é",
    "\x01",
]


def test_invalid_key_is_400(tmp_path: Path) -> None:
    """An empty, long, broken, repeated, non-ASCII or control character key is 400."""
    body = b'{"item": "Lamp"}'
    with app_of(tmp_path, router()) as app:
        for value in HOSTILE:
            raw = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "HTTP_IDEMPOTENCY_KEY": value}
            assert send(app, "POST", "/orders", body, **raw).status_code == 400, value
        assert orders(app) == 0


def test_rejected_by_a_rate_limit(tmp_path: Path) -> None:
    """A retry takes a token as every request, and a rejected one is not stored."""
    limited = rate_limit(rate=2, period=60)(handler())
    with app_of(tmp_path, router(limited), clock=Clock()) as app:
        assert [post(app).status_code for _ in range(3)] == [201, 201, 429]
        assert orders(app) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_response_that_asks_to_try_again_is_not_stored(tmp_path: Path, status: int) -> None:
    """A returned 408, 425, 429 or 5xx leaves no effects, and a retry runs."""
    statuses = iter([status, 200])

    def run(ctx: MutationCtx, request: Any) -> Any:
        ctx.db.insert(Order(item="Lamp"))
        return {}, next(statuses)

    with app_of(tmp_path, router(run)) as app:
        assert (post(app).status_code, orders(app)) == (status, 0)
        assert (post(app).status_code, orders(app)) == (200, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: Response(iter([b"a", b"b"])), "a stream"),
        (lambda: "x" * 2**20, "larger than 1048576"),
    ],
)
def test_response_that_cannot_be_stored(tmp_path: Path, value: Any, words: str) -> None:
    """A streamed or huge response is an error of the application that says why, and leaves no effects."""

    def run(ctx: MutationCtx, request: Any) -> Any:
        ctx.db.insert(Order(item="Lamp"))
        return value()

    with app_of(tmp_path, router(run)) as app:
        app.testing = True
        with pytest.raises(Exception, match=words):
            post(app)
        assert (orders(app), count(app, IdempotencyKey)) == (0, 0)


def test_form_with_a_file(tmp_path: Path) -> None:
    """The body is read before the transaction, and the handler still gets its form and files."""

    def run(ctx: MutationCtx, request: Any) -> Any:
        item = request.form["item"] + request.files["photo"].read().decode()
        return {"id": ctx.db.insert(Order(item=item)), "item": item}

    body = (
        b'--x\r\nContent-Disposition: form-data; name="item"\r\n\r\nLamp\r\n'
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n!\r\n--x--\r\n'
    )
    with app_of(tmp_path, router(run)) as app:
        headers = {"Idempotency-Key": "k1", "Content-Type": "multipart/form-data; boundary=x"}
        answers = [app.test_client().post("/orders", data=body, headers=headers) for _ in range(2)]
        assert json.loads(answers[0].data)["item"] == "Lamp!"
        assert answers[0].data == answers[1].data


def test_decorator_of_the_application(tmp_path: Path) -> None:
    """A decorator above a guard runs each time, and one below it runs in the transaction."""
    seen: list[str] = []

    def noted(handler: Any) -> Any:
        import functools

        @functools.wraps(handler)
        def note(ctx: Any, request: Any) -> Any:
            seen.append(type(ctx).__name__)
            return handler(ctx, request)

        return note

    with app_of(tmp_path, router(noted(require_api_key(noted(handler()))))) as app:
        key = backend_of(app).api_keys.create(name="a")[0]
        assert [post(app, **{"X-API-Key": key}).status_code for _ in range(2)] == [201, 201]
        assert seen == ["ActionCtx", "MutationCtx", "ActionCtx"]


def test_hidden_guard_is_an_error(tmp_path: Path) -> None:
    """A guard below a decorator without functools.wraps cannot run before the key, which is an error that says so."""

    def bare(handler: Any) -> Any:
        return lambda ctx, request: handler(ctx, request)

    with app_of(tmp_path, router(bare(require_api_key(handler())))) as app:
        app.testing = True
        key = backend_of(app).api_keys.create(name="a")[0]
        with pytest.raises(Exception, match=r"functools\.wraps"):
            post(app, **{"X-API-Key": key})
        assert orders(app) == 0


def _async() -> Any:
    async def handler(ctx: MutationCtx, request: Any) -> None: ...

    return handler


def _action(ctx: ActionCtx, request: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "run", "words"),
    [
        ({"idempotent": "yes"}, handler(), "must be True"),
        ({"idempotent": False, "keep": timedelta(days=1)}, handler(), "write idempotent=True too"),
        ({"keep": timedelta(0)}, handler(), "must be a timedelta"),
        ({"keep": 3600}, handler(), "must be a timedelta"),
        ({"keep": timedelta(days=366)}, handler(), "at most 365 days"),
        ({}, _async(), "is async"),
        ({}, _action, "write ctx: MutationCtx"),
    ],
)
def test_registration_errors(options: dict[str, Any], run: Any, words: str) -> None:
    """What cannot work is refused when the route is registered."""
    with pytest.raises(RegistrationError, match=words):
        router(run, **options)


def test_get_cannot_be_idempotent() -> None:
    """A route that reads needs no key."""
    with pytest.raises(RegistrationError, match="changes nothing"):
        HttpRouter("http", __name__).route("/x", idempotent=True)(handler())
