"""`npx convex logs`: the records of an app as Convex streams them."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import HttpRouter, MutationCtx, Schema, internal_mutation, mutation, query
from flask_convex_http.runtime import QueryCtx
from tests.databases import EACH_ENGINE
from tests.function_api.shop import admin_key, call
from tests.web.apps import backend_of, deployed

pytestmark = EACH_ENGINE
logger = logging.getLogger("shop")


@mutation
def greet(ctx: MutationCtx, *, name: str) -> None:
    """Log a line, and fail for some names."""
    logger.warning("Hello %s", name)
    if name == "Eve":
        raise ValueError("unknown")
    if name == "Mallory":
        try:
            raise KeyError(name)
        except KeyError as error:
            raise ValueError("chained") from error


@query
def read_all(ctx: QueryCtx, *, password: str) -> None:
    """Return nothing."""


@internal_mutation
def inner(ctx: MutationCtx) -> None:
    """Do nothing."""


http = HttpRouter("http", __name__)


@http.get("/hello/<name>")
def hello(name: str) -> str:
    """Return the name."""
    return name


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Any:
    options: dict[str, Any] = {"functions": [greet, read_all, inner], "function_api": True, "CONVEX_LOG_ROWS": 1000}
    with deployed(tmp_path, http, schema=Schema(), **options) as app:
        yield app


def stream(app: Flask, key: str, cursor: float = 0) -> Any:
    """Return the response to a request for records."""
    response = app.test_client().get(
        f"/api/stream_function_logs?cursor={cursor}", headers={"Authorization": f"Convex {key}"}
    )
    assert response.status_code == 200, response.text
    return response.get_json()


def test_calls_requests_and_lines(app: Flask) -> None:
    """Calls, requests of routes and lines that functions log are entries with the names of clients."""
    key = admin_key(app)
    call(app, "mutation", "testLogStream:greet", {"name": "Ada"})
    call(app, "query", "testLogStream:readAll", {"password": "hunter2"})
    app.test_client().get("/hello/secret-name")
    found = stream(app, key)
    shown = [(entry["kind"], entry["udfType"], entry["identifier"]) for entry in found["entries"]]
    assert shown == [
        ("Progress", "Mutation", "testLogStream:greet"),
        ("Completion", "Mutation", "testLogStream:greet"),
        ("Completion", "Query", "testLogStream:readAll"),
        ("Completion", "HttpAction", "GET /hello/<name>"),
    ]
    line, completed, _, request = found["entries"]
    assert line["logLines"][0]["messages"] == ["Hello Ada"] and line["logLines"][0]["level"] == "WARN"
    assert line["requestId"] == completed["requestId"] != ""
    assert completed["executionTime"] >= 0 and completed["error"] is None
    assert request["success"] == {"status": "200"}
    assert "hunter2" not in str(found) and "secret-name" not in str(found)


def test_errors_have_frames(app: Flask) -> None:
    """A call that has failed has its error with the frames of the application, or all of a chain of errors."""
    key = admin_key(app)
    for name in ("Eve", "Mallory"):
        call(app, "mutation", "testLogStream:greet", {"name": name})
    frames, chain = (entry["error"] for entry in stream(app, key)["entries"] if entry.get("error"))
    assert frames.startswith(f'Uncaught ValueError: unknown\n  File "{__file__}", line ')
    assert frames.endswith('raise ValueError("unknown")')
    assert chain.startswith("Traceback") and "KeyError" in chain and chain.endswith("ValueError: chained")


def test_a_request_waits_for_a_record(app: Flask) -> None:
    """A request with a cursor waits for the next entry, and gets each entry once. Its own record ends no wait."""
    key = admin_key(app)
    call(app, "mutation", "testLogStream:greet", {"name": "Ada"})
    first = stream(app, key)
    later: list[Any] = []
    waiting = threading.Thread(target=lambda: later.append(stream(app, key, first["newCursor"] + 0.5)))
    waiting.start()
    call(app, "query", "testLogStream:readAll", {"password": ""})
    waiting.join()
    assert [entry["identifier"] for entry in later[0]["entries"]] == ["testLogStream:readAll"]
    assert later[0]["newCursor"] > first["newCursor"]


@pytest.mark.parametrize("cursor", ["-1", "x", "nan", "inf", "1e99", ""])
def test_a_wrong_cursor_is_400(app: Flask, cursor: str) -> None:
    """A cursor that is no number of a record is 400."""
    response = app.test_client().get(
        f"/api/stream_function_logs?cursor={cursor}", headers={"Authorization": f"Convex {admin_key(app)}"}
    )
    assert (response.status_code, response.get_json()["code"]) == (400, "BadQueryArgs")


def test_only_administrators_read_logs(app: Flask) -> None:
    """A caller without an admin key gets 401."""
    assert app.test_client().get("/api/stream_function_logs?cursor=0").status_code == 401


def test_places_are_limited(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for which there is no place is 503 with Retry-After, since each waiting one holds a thread."""
    key, logs = admin_key(app), backend_of(app).logs
    started, go_on = threading.Semaphore(0), threading.Event()

    def wait(after: int, timeout: float) -> bool:
        started.release()
        return go_on.wait(20)

    call(app, "mutation", "testLogStream:greet", {"name": "Ada"})
    cursor = stream(app, key)["newCursor"]
    logs.flush()
    monkeypatch.setattr(type(logs), "wait", lambda self, after, timeout: wait(after, timeout))
    waiting = [threading.Thread(target=stream, args=(app, key, cursor)) for _ in range(4)]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert started.acquire(timeout=20)
    response = app.test_client().get(
        f"/api/stream_function_logs?cursor={cursor}", headers={"Authorization": f"Convex {key}"}
    )
    assert response.status_code == 503 and response.headers["Retry-After"]
    call(app, "query", "testLogStream:readAll", {"password": ""})
    go_on.set()
    for thread in waiting:
        thread.join()


def test_without_a_store(tmp_path: Path) -> None:
    """A deployment that keeps no records says which setting keeps them."""
    with deployed(tmp_path, function_api=True, CONVEX_LOG_ROWS=0) as app:
        response = app.test_client().get(
            "/api/stream_function_logs?cursor=0", headers={"Authorization": f"Convex {admin_key(app)}"}
        )
        assert response.status_code == 403 and "CONVEX_LOG_ROWS" in response.get_json()["message"]
