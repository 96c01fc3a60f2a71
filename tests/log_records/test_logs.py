"""The log store: records and statistics of all processes of a deployment, in a bound."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http.testing import deliver, run_scheduled
from tests.log_records.apps import SHOP, logs_of, place_later, shop
from tests.web.apps import backend_of

pytestmark = pytest.mark.usefixtures("each_engine")


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    with shop(tmp_path) as app:
        yield app


def _post(app: Flask, text: str, request_id: str = "one") -> int:
    return app.test_client().post(f"/orders/{text}", headers={"X-Request-Id": request_id}).status_code


def test_a_request_can_be_followed_by_its_id(app: Flask) -> None:
    """The records of a request are its functions, what they have logged, and itself, in the order of their ends."""
    assert _post(app, "tea") == 200
    assert _post(app, "milk", "two") == 200
    found = logs_of(app).read(request_id="one")
    assert [(record.kind, record.function) for record in found] == [
        ("line", "apps:place"),
        ("function", "apps:count"),
        ("function", "apps:place"),
        ("request", None),
    ]
    line, _, function, request = found
    assert (line.logger, line.level, line.message) == ("shop", "WARNING", "an order of 3 letters")
    assert function.data["kind"] == "mutation"
    assert request.message.startswith("POST /orders/<text> 200 in ")
    assert request.data["ms"] >= function.data["ms"] > 0


def test_errors_have_their_class_text_and_traceback(app: Flask) -> None:
    """An expected error is a warning with its text, and another one is an error with its traceback."""
    assert _post(app, "bad") == 400
    assert _post(app, "broken") == 500
    expected, unexpected = logs_of(app).read(kind="function")
    assert (expected.level, expected.data["error"]) == ("WARNING", "ConvexError: This order is not taken")
    assert "traceback" not in expected.data
    assert (unexpected.level, unexpected.data["error"]) == ("ERROR", "ZeroDivisionError: the till is broken")
    assert "raise ZeroDivisionError" in unexpected.data["traceback"]
    assert [record.data["status"] for record in logs_of(app).read(kind="request")] == [400, 500]


def test_jobs_and_deliveries_are_records(app: Flask) -> None:
    """A job and a delivery are one record each, and the lines that tell the same are not stored too."""
    with app.app_context():
        backend_of(app).ctx().run_mutation(place_later, text="broken")
        run_scheduled(app)
    deliver(app.test_client(), "github", "push", duplicate=2)
    (job,) = logs_of(app).read(kind="job")
    assert (job.function, job.level, job.data["outcome"]) == ("apps:place", "ERROR", "failed")
    assert [record.data["state"] for record in logs_of(app).read(kind="delivery")] == ["done", "duplicate"]
    assert not [record for record in logs_of(app).read(kind="line") if "scheduled" in record.message]


def test_readers_continue_and_page_back(app: Flask) -> None:
    """A reader gets the last records, then those after a number, or those before one."""
    for number in range(10):
        _post(app, "tea", str(number))
    logs = logs_of(app)
    everything = logs.read(limit=1000)
    assert [record.number for record in everything] == sorted({record.number for record in everything})
    last = logs.read(limit=5)
    assert last == everything[-5:]
    assert logs.read(before=last[0].number, limit=5) == everything[-10:-5]
    assert logs.read(after=0, limit=5) == everything[:5]
    assert logs.read(after=last[-1].number) == []
    assert logs.read(after=last[-1].number + 1000, limit=1000) == everything, "the store was lost since"


def test_filters(app: Flask) -> None:
    """Records are found by level, function, kind and text; a text is no pattern."""
    _post(app, "tea", "x/y")
    _post(app, "bad")
    logs = logs_of(app)
    assert {record.level for record in logs.read(level="WARNING")} == {"WARNING"}
    assert {record.function for record in logs.read(function="apps:count")} == {"apps:count"}
    assert [record.kind for record in logs.read(text="NOT taken")] == ["function", "request"]
    assert logs.read(text="%") == []
    assert logs.read(text="'") == []
    assert logs.read(request_id="x/y")[-1].kind == "request"


def test_only_the_last_records_stay(tmp_path: Path) -> None:
    """The store keeps as many records as the setting says."""
    with shop(tmp_path, CONVEX_LOG_ROWS=7) as app:
        for _ in range(10):
            _post(app, "tea")
        found = logs_of(app).read(limit=100)
        assert len(found) == 7
        assert found[-1].kind == "request"


def test_statistics(app: Flask) -> None:
    """Requests, errors, calls, deliveries and group commits are counted by the minute, without gaps."""
    for text in ("tea", "milk", "bad", "broken"):
        _post(app, text)
    deliver(app.test_client(), "github", "push")
    app.test_client().post("/hooks/github", data=b"{}", headers={"X-Hub-Signature-256": "sha256=" + "0" * 64})
    now = time.time() * 1000
    found = logs_of(app).statistics(since=now - 10 * 60_000)
    assert [minute.start for minute in found] == [found[0].start + 60_000 * place for place in range(len(found))]
    (both,) = logs_of(app).statistics(since=now - 10 * 60_000, step=timedelta(hours=1))
    assert both.requests == {"2xx": 3, "4xx": 2, "5xx": 1}
    assert both.request_count == both.request_seconds.count == 6
    assert both.error_count == 1
    assert both.functions["apps:place"] == 4
    assert both.function_errors == {"apps:place": 2}
    assert both.deliveries == {"done": 1}
    assert sum(both.rejections.values()) == 1
    assert both.transactions >= 5
    assert both.write_wait.count == both.transactions
    assert both.request_seconds.quantile(0.5) is not None
    assert logs_of(app).statistics(since=now + 600_000) == []


def test_a_follower_waits_for_the_next_record(app: Flask) -> None:
    """`wait` returns as soon as there is another record, and after its time without one."""
    logs = logs_of(app)
    last = logs.newest()
    assert not logs.wait(last, 0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(logs.wait, last, 60)
        _post(app, "tea")
        assert waiting.result(60)


def test_the_store_is_no_table_of_the_application(app: Flask) -> None:
    """Neither a check nor another migration sees the tables of the store."""
    _post(app, "tea")
    logs_of(app).flush()
    backend = backend_of(app)
    assert backend.engine.undescribed_tables() == []
    assert backend.engine.check() == []
    assert backend.migrate() == []


def test_requests_of_operators_are_not_kept(tmp_path: Path) -> None:
    """A dashboard that asks again and again, and health checks, push out no records of the application."""
    with shop(tmp_path, dashboard=True, health=True) as app:
        client = app.test_client()
        assert client.get("/_convex/").status_code in (200, 302, 303)
        assert client.get("/healthz").status_code == 200
        assert client.post("/orders/tea").status_code == 200
        assert [record.data["route"] for record in logs_of(app).read(kind="request")] == ["/orders/<text>"]
        (hour,) = logs_of(app).statistics(since=time.time() * 1000 - 120_000, step=timedelta(hours=1))
        assert hour.requests == {"2xx": 1}


def test_without_a_store_nothing_is_kept(tmp_path: Path) -> None:
    """With 0 rows there is no subscriber, no file and no thread, and reads return nothing."""
    with shop(tmp_path, is_kept=True, CONVEX_LOG_ROWS=0) as app:
        _post(app, "tea")
        assert not backend_of(app).telemetry.is_on
        assert not logs_of(app).is_on
        assert (logs_of(app).read(), logs_of(app).statistics(since=0), logs_of(app).newest()) == ([], [], 0)
        assert not list(tmp_path.glob("*-logs*"))


def test_threads_that_log_at_once_lose_nothing(app: Flask) -> None:
    """Each of many requests at once has its record and is counted once."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: _post(app, "tea", str(number)), range(64))) == {200}
    found = logs_of(app).read(kind="request", limit=1000)
    assert {record.request_id for record in found} == set(map(str, range(64)))
    (hour,) = logs_of(app).statistics(since=time.time() * 1000 - 120_000, step=timedelta(hours=1))
    assert hour.requests == {"2xx": 64}


def test_a_line_that_cannot_be_formatted_is_stored_as_it_is(app: Flask) -> None:
    """A line with wrong arguments, with line breaks or with an escape sequence breaks nothing."""
    telemetry = backend_of(app).telemetry
    scope = telemetry.enter("function", "apps:place", "one", function="apps:place")
    SHOP.makeRecord("shop", 30, __file__, 1, "%d apples", ("no",), None)
    SHOP.makeRecord("shop", 35, __file__, 1, "two\nlines \x1b[2J \ud800 \x00", (), None)
    telemetry.leave(scope)
    first, second = logs_of(app).read(kind="line", function="apps:place")
    assert first.message == "%d apples"
    assert second.message == "two\\nlines \\x1b[2J \\ud800 \\x00"
    assert second.level == "WARNING"


def _request_in_child(app: Flask, results: Any) -> None:
    results.put(_post(app, "tea", "child"))
    backend_of(app).close()


def test_a_forked_process_writes_to_the_same_store(tmp_path: Path, each_engine: str) -> None:
    """A process that was forked while records waited stores its own, and none twice."""
    with shop(tmp_path, is_kept=each_engine == "sqlite") as app:
        _post(app, "tea", "parent")
        logs_of(app).flush()
        _post(app, "tea", "waiting")
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_request_in_child, args=(app, results))
        child.start()
        assert results.get(timeout=60) == 200
        child.join(60)
        found = logs_of(app).read(kind="request")
        assert sorted(str(record.request_id) for record in found) == ["child", "parent", "waiting"]
        assert len({record.data["process"] for record in found}) == 2
