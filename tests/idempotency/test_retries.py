"""Retries of idempotent requests, on each engine: what is stored, for whom and for how long."""

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import abort

from flask_convex_http import (
    ConvexError,
    HttpRouter,
    MutationCtx,
    require_api_key,
)
from flask_convex_http.schema.system_tables import IdempotencyKey, ScheduledFunction
from flask_convex_http.testing import Clock
from flask_convex_http.worker.cleanup import Cleaner
from tests.databases import EACH_ENGINE, rows
from tests.idempotency.shop import Order, app_of, count, handler, orders, post, router
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE


def test_retry_gets_the_stored_response(tmp_path: Path) -> None:
    """A retry gets status, headers and body of the first response, and neither effects nor jobs happen twice."""
    with app_of(tmp_path, router()) as app:
        first, retry = post(app), post(app)
        assert (first.status_code, "Idempotency-Replayed" in first.headers) == (201, False)
        assert (retry.status_code, retry.headers["Idempotency-Replayed"]) == (201, "true")
        assert (retry.data, retry.headers["Location"]) == (first.data, first.headers["Location"])
        assert retry.headers["Content-Type"] == "application/json"
        assert (orders(app), count(app, ScheduledFunction)) == (1, 1)


def test_large_response_is_stored(tmp_path: Path) -> None:
    """A retry gets a response of nearly 1 MiB too, which is not kept in memory until the commit."""

    def run(ctx: MutationCtx, request: Any) -> Any:
        return {"id": ctx.db.insert(Order(item="Lamp")), "text": "x" * 2**19}

    with app_of(tmp_path, router(run)) as app:
        first, retry = post(app), post(app)
        assert len(first.data) > 2**19
        assert (retry.status_code, retry.data, orders(app)) == (first.status_code, first.data, 1)


def test_key_with_the_id_of_another(tmp_path: Path) -> None:
    """A key whose digest begins as that of another key never gets the other one's response."""
    with app_of(tmp_path, router(), is_kept=True) as app:
        assert post(app).status_code == 201
        rows(tmp_path, """UPDATE "_idempotency_keys" SET "key" = 'k2'""")
        assert post(app).status_code == 422
        rows(tmp_path, """UPDATE "_idempotency_keys" SET "key" = 'k1', "identity" = 'somebody'""")
        assert post(app).status_code == 422
        assert orders(app) == 1


def test_other_key_runs_again(tmp_path: Path) -> None:
    """The same request with another key is another request."""
    with app_of(tmp_path, router()) as app:
        assert {post(app, "k1").status_code, post(app, "k2").status_code} == {201}
        assert orders(app) == 2


def test_keys_expire(tmp_path: Path) -> None:
    """After `keep` a key is unused again, whether or not its row is purged by then."""
    clock = Clock()
    with app_of(tmp_path, router(keep=timedelta(hours=1)), clock=clock) as app:
        first = post(app)
        clock.advance(timedelta(minutes=59))
        assert post(app).data == first.data
        clock.advance(timedelta(minutes=2))
        assert post(app).data != first.data
        assert (orders(app), count(app, IdempotencyKey)) == (2, 1)
        clock.advance(timedelta(hours=2))
        assert not Cleaner(backend_of(app)).purge()
        assert count(app, IdempotencyKey) == 0


def test_purge_of_many_keys(tmp_path: Path) -> None:
    """Expired keys are purged in batches, and those that are kept for longer stay, though they are older."""
    clock, long = Clock(), HttpRouter("long", __name__)
    long.post("/long", idempotent=True, keep=timedelta(days=9))(handler())
    with app_of(tmp_path, router(), long, clock=clock) as app:
        post(app, "kept", path="/long")
        for number in range(51):
            post(app, f"k{number}")
        clock.advance(timedelta(days=2))
        cleaner, left = Cleaner(backend_of(app)), []
        while cleaner.purge():
            left.append(count(app, IdempotencyKey))
        assert left == [2]
        assert [stored.key for stored in backend_of(app).idempotency.list_keys(None, 9)] == ["kept"]


def test_keys_belong_to_a_caller(tmp_path: Path) -> None:
    """Two callers with one key are two requests, and a guard rejects before the key is looked at."""
    with app_of(tmp_path, router(require_api_key(handler()))) as app:
        keys = [backend_of(app).api_keys.create(name=name)[0] for name in ("a", "b")]
        for key, _ in itertools.product(keys, range(2)):
            assert post(app, **{"X-API-Key": key}).status_code == 201
        assert orders(app) == 2
        assert [post(app, key, **{"X-API-Key": "wrong"}).status_code for key in ("k1", None, "")] == [403] * 3


def test_returned_error_is_stored(tmp_path: Path) -> None:
    """A returned 4xx is a result: its effects are committed and a retry gets it."""
    numbers = itertools.count()

    def run(ctx: MutationCtx, request: Any) -> Any:
        ctx.db.insert(Order(item="Lamp"))
        return {"run": next(numbers)}, 402

    with app_of(tmp_path, router(run)) as app:
        answers = [post(app) for _ in range(2)]
        assert [(answer.status_code, answer.get_json()) for answer in answers] == [(402, {"run": 0})] * 2
        assert orders(app) == 1


def _raise_convex_error() -> None:
    raise ConvexError("Out of stock", status=409)


@pytest.mark.parametrize("fail", [_raise_convex_error, lambda: abort(409)])
def test_raised_error_leaves_the_key_unused(tmp_path: Path, fail: Any) -> None:
    """A raised error rolls back the effects and stores nothing, so that a retry runs."""
    failures = iter([fail])

    def run(ctx: MutationCtx, request: Any) -> Any:
        ctx.db.insert(Order(item="Lamp"))
        next(failures, lambda: None)()
        return {}

    with app_of(tmp_path, router(run)) as app:
        assert (post(app).status_code, orders(app), count(app, IdempotencyKey)) == (409, 0, 0)
        assert (post(app).status_code, orders(app)) == (200, 1)


def test_invalid_body_leaves_the_key_unused(tmp_path: Path) -> None:
    """A body that does not match is 400, and the key can be used for the right one."""
    with app_of(tmp_path, router()) as app:
        headers = {"Idempotency-Key": "k1"}
        assert app.test_client().post("/orders", json=[], headers=headers).status_code == 400
        assert post(app).status_code == 201
