"""Concurrent requests with one key, on each engine: one effect, and no request waits for another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from flask_convex_http import MutationCtx
from flask_convex_http.schema.system_tables import IdempotencyKey
from tests.databases import EACH_ENGINE, POSTGRES_ONLY, SQLITE_ONLY
from tests.idempotency.shop import Order, app_of, count, orders, post, router
from tests.sqlite.crews import wait_until
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE


def test_sixteen_copies_have_one_effect(tmp_path: Path) -> None:
    """Of 16 concurrent requests with one key one has effects, and each other is the replay or 409."""
    with app_of(tmp_path, router()) as app, ThreadPoolExecutor(16) as pool:
        barrier = threading.Barrier(16)

        def send(_: int) -> tuple[int, str | None]:
            barrier.wait()
            response = post(app)
            return response.status_code, response.headers.get("Idempotency-Replayed")

        seen = list(pool.map(send, range(16)))
        assert seen.count((201, None)) == 1
        assert set(seen) <= {(201, None), (201, "true"), (409, None)}
        assert (orders(app), count(app, IdempotencyKey)) == (1, 1)


def test_running_request_is_409(tmp_path: Path) -> None:
    """While a request runs, another with its key is 409 with Retry-After, and the replay afterwards."""
    started, release = threading.Event(), threading.Event()

    def run(ctx: MutationCtx, request: Any) -> Any:
        ctx.db.insert(Order(item="Lamp"))
        started.set()
        release.wait()
        return {}

    with app_of(tmp_path, router(run)) as app, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, app)
        started.wait()
        second = post(app)
        release.set()
        assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
        assert first.result().status_code == 200
        assert (post(app).headers["Idempotency-Replayed"], orders(app)) == ("true", 1)


@SQLITE_ONLY
def test_running_request_of_another_process_is_409(tmp_path: Path) -> None:
    """A request whose key another process has locked is 409, without a wait for that process's transaction."""
    with app_of(tmp_path, router(), is_kept=True) as app, app_of(tmp_path, router(), is_kept=True) as other:
        post(app, "k0")
        backend = backend_of(app)
        numbers: list[int] = []
        locks = backend.engine.key_locks
        assert locks is not None
        acquire = locks.acquire

        def note(number: int) -> bool:
            numbers.append(number)
            return acquire(number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(locks, "acquire", note)
            post(app, "k1", "Chair")
        backend.idempotency.delete_keys(key="k1", is_all=False)
        assert locks.acquire(numbers[0])
        assert post(other, "k1").status_code == 409
        locks.release(numbers[0])
        assert post(other, "k1").status_code == 201


@SQLITE_ONLY
def test_replays_need_no_free_key(tmp_path: Path) -> None:
    """While another request holds a key whose response is stored, to repeat it too, a retry gets the response."""
    with app_of(tmp_path, router()) as app:
        first = post(app)
        idempotency = backend_of(app).idempotency
        holder: dict[Any, Any] = idempotency._running
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(idempotency), "_release", lambda *_: None)  # the retry that goes on holding the key
            assert post(app).json == first.json
        assert len(holder) == 1
        second = post(app)
        assert (second.json, second.headers["Idempotency-Replayed"]) == (first.json, "true")
        assert post(app, item="Chair").status_code == 422


@SQLITE_ONLY
def test_replays_need_no_write(tmp_path: Path) -> None:
    """While the database is busy with another write, a new key is 503, and a retry gets the stored response."""
    with app_of(tmp_path, router(), CONVEX_WRITE_TIMEOUT=0.01) as app, ThreadPoolExecutor(1) as pool:
        first = post(app)
        started, release = threading.Event(), threading.Event()

        def write(transaction: Any) -> None:
            started.set()
            release.wait()

        writing = pool.submit(backend_of(app).engine.write, write)
        started.wait()
        try:
            assert post(app, "k2").status_code == 503
            second = post(app)
            assert (second.json, second.headers["Idempotency-Replayed"]) == (first.json, "true")
        finally:
            release.set()
        writing.result()
        wait_until(lambda: post(app, "k2").status_code == 201)  # the writer may be busy for a moment after its commit
        assert orders(app) == 2


@POSTGRES_ONLY
def test_running_transaction_of_another_process_is_409(tmp_path: Path) -> None:
    """A request whose key another transaction has locked is 409, without a wait for that transaction."""
    with app_of(tmp_path, router()) as app:
        idempotency = backend_of(app).idempotency
        post(app)
        idempotency.delete_keys(key=None, is_all=True)
        numbers: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            lock = type(idempotency)._run

            def run(self: Any, request: Any, *args: Any, **options: Any) -> Any:
                numbers.append(request.number)
                return lock(self, request, *args, **options)

            patch.setattr(type(idempotency), "_run", run)
            post(app)
        idempotency.delete_keys(key=None, is_all=True)

        def hold(transaction: Any) -> int:
            assert transaction.try_lock(numbers[0])
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(post, app).result().status_code

        assert backend_of(app).engine.write(hold) == 409
        assert post(app).status_code == 201


@POSTGRES_ONLY
def test_serialization_failure_runs_the_handler_again(tmp_path: Path) -> None:
    """A handler whose transaction conflicts runs again with the same request, and its effects happen once."""
    bodies: list[Any] = []

    def run(ctx: MutationCtx, request: Request, body: dict[str, str]) -> Any:
        bodies.append((dict(body), dict(request.get_json())))
        found = ctx.db.query(Order).collect()
        if len(bodies) == 1:  # another transaction writes what this one has read
            body.clear()
            request.get_json().clear()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(post, app, "other", "Chair", "/others").result()
        ctx.db.insert(Order(item=f"{len(found)}"))
        return {"found": len(found)}

    http = router(run)
    http.post("/others", idempotent=True, endpoint="others")(
        lambda ctx, request: {"n": len(ctx.db.query(Order).collect()), "id": ctx.db.insert(Order(item="Chair"))}
    )
    with app_of(tmp_path, http) as app:
        assert post(app).json == {"found": 1}
        assert bodies == [({"item": "Lamp"}, {"item": "Lamp"})] * 2
        assert (orders(app), count(app, IdempotencyKey)) == (2, 2)
