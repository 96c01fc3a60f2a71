"""`CONVEX_LOG=json` and `records`: one line for each request, function, job and delivery."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import log
from flask_convex_http.log import configure_process, formats_all_lines, logger_of, show_unless_configured
from flask_convex_http.logs.json_lines import JsonFormatter
from flask_convex_http.testing import deliver, run_scheduled
from tests.log_records.apps import SHOP, place_later, shop
from tests.logs import unconfigured
from tests.web.apps import backend_of


@contextmanager
def _process() -> Iterator[io.StringIO]:
    """Be a process without a configuration, whose style is set back at the end, and yield what it writes to stderr."""
    with pytest.MonkeyPatch.context() as patched, unconfigured() as written:
        patched.setattr(log, "_formatter", None)
        patched.setattr(log, "_has_events", False)
        patched.setattr(logging.getLogger("werkzeug"), "filters", [])
        yield written


def _lines(written: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines without those of the migration."""
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in lines if line["logger"] != "flask_convex_http.database"]


def test_each_request_is_one_object(tmp_path: Path) -> None:
    """A request, its functions and what they log are JSON objects with one request id, and no line tells them again."""
    with _process() as stderr, shop(tmp_path, CONVEX_LOG="json", CONVEX_LOG_ROWS=0) as app:
        show_unless_configured()
        assert formats_all_lines()
        app.test_client().post("/orders/tea", headers={"X-Request-Id": "one"})
        app.test_client().post("/orders/broken", headers={"X-Request-Id": "two"})
        lines = _lines(stderr)
    assert [(line["logger"], line["request_id"], line.get("function")) for line in lines] == [
        ("shop", "one", "apps:place"),
        ("flask_convex_http.functions", "one", "apps:count"),
        ("flask_convex_http.functions", "one", "apps:place"),
        ("flask_convex_http.requests", "one", None),
        ("flask_convex_http.functions", "two", "apps:place"),
        ("flask_convex_http.requests", "two", None),
    ]
    assert (lines[3]["status"], lines[3]["route"], lines[3]["level"]) == (200, "/orders/<text>", "INFO")
    assert (lines[5]["status"], lines[5]["error"]) == (500, "ZeroDivisionError: the till is broken")
    assert lines[5]["traceback"].startswith("Traceback (most recent call last)")


def test_jobs_and_deliveries_are_one_object_each(tmp_path: Path) -> None:
    """A job and a delivery are one object each, with their outcome."""
    with _process() as stderr, shop(tmp_path, CONVEX_LOG="json", CONVEX_LOG_ROWS=0) as app, app.app_context():
        show_unless_configured()
        backend_of(app).ctx().run_mutation(place_later, text="bad")
        run_scheduled(app)
        deliver(app.test_client(), "github", "push", duplicate=2)
        lines = _lines(stderr)
    jobs = [line for line in lines if line["logger"] == "flask_convex_http.jobs"]
    assert [(job["function"], job["outcome"], job["error"]) for job in jobs] == [
        ("apps:place", "failed", "ConvexError: This order is not taken")
    ]
    deliveries = [line for line in lines if line["logger"] == "flask_convex_http.webhooks"]
    assert [delivery["state"] for delivery in deliveries] == ["done", "duplicate"]


def test_records_reach_the_logging_of_the_application(tmp_path: Path) -> None:
    """With "records" a formatter of the application finds the fields of each event, and no line is JSON."""
    with _process() as stderr, shop(tmp_path, CONVEX_LOG="records", CONVEX_LOG_ROWS=0) as app:
        found: list[logging.LogRecord] = []
        handler = logging.Handler(logging.INFO)
        handler.emit = found.append  # type: ignore[method-assign,assignment]
        logging.root.addHandler(handler)
        logger_of().setLevel(logging.INFO)
        show_unless_configured()
        assert not formats_all_lines()
        app.test_client().post("/orders/broken", headers={"X-Request-Id": "one"})
    records: list[Any] = [record for record in found if record.name == "flask_convex_http.requests"]
    [record] = records
    assert (record.convex["status"], record.convex_request_id, record.levelname) == (500, "one", "ERROR")
    assert "ZeroDivisionError" in logging.Formatter().format(record)
    assert "{" not in stderr.getvalue()


def test_text_stays_as_it_was(tmp_path: Path) -> None:
    """By default requests and calls are no lines, whether records are kept or not."""
    with _process() as stderr, shop(tmp_path) as app:
        show_unless_configured()
        app.test_client().post("/orders/tea")
        lines = stderr.getvalue().splitlines()
    assert not [line for line in lines if "flask_convex_http.requests" in line or "flask_convex_http.functions" in line]


def test_lines_of_the_development_server_are_not_doubled(tmp_path: Path) -> None:
    """The line that Werkzeug's server logs for a request is left out, and its other lines stay."""
    with _process() as stderr, shop(tmp_path, CONVEX_LOG="json", CONVEX_LOG_ROWS=0):
        configure_process()
        logging.getLogger("werkzeug").warning('127.0.0.1 - - [01/Dec/2026 09:00:00] "GET / HTTP/1.1" 200 -')
        logging.getLogger("werkzeug").warning("This is a development server")
    assert [line["message"] for line in _lines(stderr)] == ["This is a development server"]


def _formatted(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    decoded: dict[str, Any] = json.loads(line)
    return decoded


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("value", [1, "text", {"a": [1]}, object(), float("nan"), "\ud800", _Unprintable(), b"\xff"])
def test_extra_fields_are_kept(value: object) -> None:
    """What code logs with `extra=` is a field, and a value that JSON cannot hold does not lose the line."""
    record = SHOP.makeRecord("shop", 20, __file__, 1, "sold", (), None, extra={"value": value})
    line = _formatted(record)
    assert (line["message"], line["level"]) == ("sold", "INFO")
    assert "value" in line or value != value


def test_exceptions_and_wrong_arguments() -> None:
    """An exception is a text and a traceback, and a line with wrong arguments is its format."""
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = SHOP.makeRecord("shop", 40, __file__, 1, "failed", (), (ValueError, error, error.__traceback__))
    line = _formatted(record)
    assert line["error"] == "ValueError: two\nlines"
    assert "raise ValueError" in line["traceback"]
    assert _formatted(SHOP.makeRecord("shop", 40, __file__, 1, "%d", ("x",), None))["message"] == "%d"
