"""`flask convex logs`."""

import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.log_records.apps import shop
from tests.web.apps import backend_of


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    with shop(tmp_path) as app:
        for number, text in enumerate(["tea", "milk", "bad", "broken"]):
            app.test_client().post(f"/orders/{text}", headers={"X-Request-Id": f"request-{number}"})
        yield app


def _convex(app: Flask, *arguments: str, status: int = 0) -> str:
    result = app.test_cli_runner().invoke(args=["convex", "logs", *arguments])
    assert result.exit_code == status, result.output
    return result.stdout if status == 0 else result.stderr


def test_lines_have_time_level_request_and_message(app: Flask) -> None:
    """Each record is a line with its time in UTC, its level, its request id and its message, the newest last."""
    lines = _convex(app, "--request", "request-0").splitlines()
    assert [line.split("Z ")[1] for line in lines[:1]] == [
        "WARNING  [request-0] shop (apps:place): an order of 3 letters"
    ]
    assert "INFO     [request-0] POST /orders/<text> 200 in " in lines[-1]


def test_a_request_shows_its_tracebacks(app: Flask) -> None:
    """Tracebacks are printed for one request, and left out of the list."""
    assert "    ZeroDivisionError: the till is broken" in _convex(app, "--request", "request-3").splitlines()
    assert "Traceback" not in _convex(app)


def test_filters(app: Flask) -> None:
    """Records are selected by function, level, text and number, and printed as JSON."""
    found = json.loads(_convex(app, "--function", "apps:place", "--level", "error", "--json"))
    assert [record["request_id"] for record in found] == ["request-3"]
    assert found[0]["data"]["error"] == "ZeroDivisionError: the till is broken"
    assert len(_convex(app, "--limit", "2").splitlines()) == 2
    assert "not taken" in _convex(app, "--text", "NOT TAKEN")
    assert _convex(app, "--text", "nowhere") == ""


def test_without_a_store_the_error_names_the_setting(tmp_path: Path) -> None:
    """Where nothing is kept, the error says what to set."""
    with shop(tmp_path, CONVEX_LOG_ROWS=0) as app:
        assert "set CONVEX_LOG_ROWS=10000" in _convex(app, status=1)


@pytest.mark.parametrize("arguments", [["--limit", "-1"], ["--level", "loud"], ["--limit", "x"]])
def test_wrong_usage(app: Flask, arguments: list[str]) -> None:
    """A wrong option is wrong usage."""
    assert "Usage: " in _convex(app, *arguments, status=2)


def test_follow(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower prints each further record once, until it is interrupted."""
    printed: list[str] = []
    has_printed = threading.Semaphore(0)
    logs = backend_of(app).logs
    wait = logs.wait

    def wait_or_end(last: int, timeout: float) -> bool:
        if len(printed) >= 3:
            raise KeyboardInterrupt
        return wait(last, timeout)

    def show(record: Any, **_: Any) -> None:
        printed.append(record.message)
        has_printed.release()

    monkeypatch.setattr(logs, "wait", wait_or_end)
    monkeypatch.setattr(importlib.import_module("flask_convex_http.cli.logs"), "_print", show)

    def follow() -> None:
        app.test_cli_runner().invoke(args=["convex", "logs", "--follow", "--limit", "1", "--text", "/orders"])

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(3):
        assert has_printed.acquire(timeout=60)
        if len(printed) < 3:
            app.test_client().post("/orders/tea")
    thread.join(60)
    assert not thread.is_alive()
    assert len(printed) == 3
