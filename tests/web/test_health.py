"""Health checks: their parts, and the response to a failure of each."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort

from flask_convex_http import (
    ConvexHTTP,
    Health,
    HttpRouter,
    MutationCtx,
    RegistrationError,
    Schema,
    Stripe,
    UnavailableError,
    WebhookEvent,
)
from flask_convex_http.testing import Clock
from flask_convex_http.web import health as module
from tests.databases import PostgresServer
from tests.engines.postgres.failures import durable_server, start, stop
from tests.idempotency.shop import ship
from tests.lengths import LONG
from tests.sqlite.crews import wait_until
from tests.web.apps import backend_of


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a busy machine the time to look at the database."""
    monkeypatch.setattr(module, "TIMEOUT", 60.0)


@contextmanager
def checked_app(
    folder: Path,
    *,
    health: Any = True,
    is_migrated: bool = True,
    routers: Sequence[HttpRouter] = (),
    clock: Clock | None = None,
    **config: Any,
) -> Iterator[Flask]:
    """Yield an app with health checks."""
    app = Flask("test_app", instance_path=str(folder))
    app.config.update({"CONVEX_DATABASE_URL": "sqlite:///:memory:", "CONVEX_WORKER": "off"} | config)
    timing: dict[str, Any] = {} if clock is None else {"clock": clock}
    convex = ConvexHTTP(app, schema=Schema(), functions=[ship], health=health, **timing)
    for router in routers:
        app.register_blueprint(router)
    try:
        if is_migrated:
            with app.app_context():
                convex.migrate()
        yield app
    finally:
        backend_of(app).close()


def checks(app: Flask, status: int) -> dict[str, Any]:
    """Return the checks of a probe whose response has this status, each as its status."""
    response = app.test_client().get("/readyz")
    assert response.status_code == status
    assert response.json is not None
    assert response.json["status"] == ("ok" if status == 200 else "failed")
    return {name: check["status"] for name, check in response.json["checks"].items()}


def test_ready(tmp_path: Path) -> None:
    """A migrated app is alive and ready, and its checks are not cached."""
    with checked_app(tmp_path) as app:
        live = app.test_client().get("/healthz")
        assert (live.status_code, live.json, live.headers["Cache-Control"]) == (200, {"status": "ok"}, "no-store")
        assert checks(app, 200) == {"database": "ok", "migration": "ok", "writes": "ok", "worker": "off"}
        assert app.test_client().head("/readyz").data == b""
        assert app.test_client().post("/readyz").status_code == 404
        assert live.headers["X-Request-Id"]


def test_missing_migration_is_503(tmp_path: Path) -> None:
    """Without the tables the process is alive but not ready, and the probe creates nothing."""
    with checked_app(tmp_path, is_migrated=False, CONVEX_DATABASE_URL="sqlite:///shop.db") as app:
        assert checks(app, 503)["migration"] == "failed"
        assert app.test_client().get("/healthz").status_code == 200
        assert not (tmp_path / "shop.db").exists()


def test_failing_database_is_503_without_details(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot be used is 503, and the response says nothing about it."""

    def lookup(*args: Any, **options: Any) -> None:
        raise UnavailableError("db.internal:5432 refused", by_engine=True, detail="password=secret")

    with checked_app(tmp_path) as app:
        monkeypatch.setattr(backend_of(app).engine, "lookup", lookup)
        assert checks(app, 503)["database"] == "failed"
        assert b"internal" not in app.test_client().get("/readyz").data


def test_silent_database_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not respond is 503 after the timeout, and further probes wait for the same look."""
    release, calls = threading.Event(), []

    def lookup(*args: Any, **options: Any) -> None:
        calls.append(1)
        release.wait()

    monkeypatch.setattr(module, "TIMEOUT", 0.01)
    with checked_app(tmp_path) as app:
        monkeypatch.setattr(backend_of(app).engine, "lookup", lookup)
        assert [checks(app, 503)["database"] for _ in range(2)] == ["failed", "failed"]
        release.set()
        assert len(calls) == 1


@LONG
def test_stopped_postgres_is_503_within_the_deadline(tmp_path: Path) -> None:
    """While PostgreSQL is stopped the process is alive but not ready. Later it is ready again."""
    with durable_server() as server, checked_app(tmp_path, CONVEX_DATABASE_URL=server.make()) as app:
        module.TIMEOUT = 2.0  # the fixture puts it back
        assert checks(app, 200)["database"] == "ok"
        stop(server)
        for _ in range(2):
            began = time.monotonic()
            assert checks(app, 503)["database"] == "failed"
            assert time.monotonic() - began < 10  # five times the deadline, for a busy machine
            assert app.test_client().get("/healthz").status_code == 200
        start(server)
        wait_until(lambda: app.test_client().get("/readyz").status_code == 200)


def test_a_server_that_takes_no_writes_is_503(tmp_path: Path, postgres: PostgresServer) -> None:
    """A PostgreSQL server whose transactions are read only, as a standby's, makes the process unready."""
    url = postgres.make()
    with checked_app(tmp_path, CONVEX_DATABASE_URL=url) as app:
        assert checks(app, 200)["writes"] == "ok"
    assert url.count("options=-c") == 1
    read_only = url.replace("options=-c", "target_session_attrs=any&options=-cdefault_transaction_read_only%3Don%20-c")
    with checked_app(tmp_path, is_migrated=False, CONVEX_DATABASE_URL=read_only) as app:
        assert checks(app, 503) == {"database": "ok", "migration": "ok", "writes": "failed", "worker": "off"}
        assert (app.test_client().get("/readyz").json or {})["checks"]["writes"]["reason"] == "read-only"


def test_a_file_that_cannot_be_written_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database file or folder that the process may not write to makes it unready."""
    with checked_app(tmp_path, CONVEX_DATABASE_URL="sqlite:///shop.db") as app:
        assert checks(app, 200)["writes"] == "ok"
        monkeypatch.setattr(os, "access", lambda *args, **options: False)  # root may write everywhere
        assert checks(app, 503)["writes"] == "failed"


def test_late_writes_are_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that has waited for half of its timeout makes the process unready."""
    with checked_app(tmp_path) as app:
        monkeypatch.setattr(backend_of(app).engine, "oldest_wait", lambda: 5.1)
        assert checks(app, 503)["writes"] == "failed"


def test_worker_without_a_heartbeat_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that runs in the process is ok, and one that is late or has died is not."""
    with checked_app(tmp_path, CONVEX_WORKER="on") as app:
        worker = app.extensions["convex_http_worker"]
        assert checks(app, 200)["worker"] == "ok"
        for age in (61.0, float("inf")):
            monkeypatch.setattr(worker, "heartbeat_age", lambda age=age: age)
            assert checks(app, 503)["worker"] == "failed"


def test_oldest_wait_of_a_queue(tmp_path: Path) -> None:
    """The oldest waiting write counts, and none waits in an idle process."""
    started, release = threading.Event(), threading.Event()

    def hold(transaction: Any) -> None:
        started.set()
        release.wait()

    with checked_app(tmp_path) as app:
        engine = backend_of(app).engine
        assert engine.oldest_wait() == 0.0
        threads = [threading.Thread(target=engine.write, args=(hold,)) for _ in range(2)]
        threads[0].start()
        started.wait()
        threads[1].start()
        while not engine.oldest_wait():
            pass
        release.set()
        for thread in threads:
            thread.join()
        assert engine.oldest_wait() == 0.0


def test_checks_come_before_the_app(tmp_path: Path) -> None:
    """The app's before_request functions do not see a health check."""
    with checked_app(tmp_path) as app:
        app.before_request(lambda: abort(401))
        assert checks(app, 200)
        assert app.test_client().get("/other").status_code == 401


def test_routes_of_the_app_win(tmp_path: Path) -> None:
    """A route with exactly that path is served, and one for any path does not hide the check."""
    http = HttpRouter("http", __name__)
    http.get("/healthz")(lambda ctx, request: "mine")
    with checked_app(tmp_path) as app:
        app.register_blueprint(http)
        app.add_url_rule("/<path:rest>", view_func=lambda rest: "any")
        assert app.test_client().get("/healthz").text == "mine"
        assert app.test_client().get("/readyz").is_json


def test_paths_can_be_chosen(tmp_path: Path) -> None:
    """With `Health` the checks have other paths."""
    with checked_app(tmp_path, health=Health(live="/live", ready="/ready")) as app:
        codes = [app.test_client().get(path).status_code for path in ("/live", "/ready", "/healthz", "/readyz")]
        assert codes == [200, 200, 404, 404]


def test_off_by_default(tmp_path: Path) -> None:
    """Without `health=` there are no checks."""
    with checked_app(tmp_path, health=False) as app:
        assert app.test_client().get("/healthz").status_code == 404


@pytest.mark.parametrize("wrong", ["/healthz", 1, lambda: Health(live="x"), lambda: Health(ready="/healthz")])
def test_wrong_options_are_refused(wrong: Any) -> None:
    """What is no choice of paths is an error when the extension is made."""
    with pytest.raises(RegistrationError, match=r"health=|Health:"):
        ConvexHTTP(health=wrong() if callable(wrong) else wrong)


def test_silent_webhook_does_not_make_the_process_unready(tmp_path: Path) -> None:
    """A webhook that is silent for longer than expected is reported, and the process stays ready to receive."""
    clock = Clock()
    http = HttpRouter("hooks", __name__)

    @http.webhook("/hook", Stripe(secret="whsec_test"), expect_every=timedelta(hours=1))
    def on_event(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Do nothing."""

    with checked_app(tmp_path, routers=[http], clock=clock) as app:
        assert checks(app, 200)["webhooks"] == "ok"
        clock.advance(timedelta(hours=2))
        assert checks(app, 200)["webhooks"] == "silent"
