"""Spans of an app, as OpenTelemetry's SDK exports them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Document,
    GitHub,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    WebhookEvent,
    mutation,
    query,
)
from flask_convex_http.testing import deliver, run_scheduled
from tests.lengths import LONG
from tests.web.apps import backend_of, deployed

pytestmark = pytest.mark.usefixtures("each_engine")

_EXPORTER = InMemorySpanExporter()
_PROVIDER = TracerProvider()
_PROVIDER.add_span_processor(SimpleSpanProcessor(_EXPORTER))
_TRACE, _PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_INCOMING = {"traceparent": f"00-{_TRACE}-{_PARENT}-01"}


class Note(Document, table="notes"):
    """A note."""

    text: str


@query
def count(ctx: QueryCtx) -> int:
    """Count the notes, in a span of the application's own."""
    with trace.get_tracer("app").start_as_current_span("counting"):
        return len(ctx.db.query(Note).collect())


@mutation
def write(ctx: MutationCtx, *, text: str) -> int:
    """Write a note, and count them."""
    if not text.strip():
        raise ConvexError("A note has a text")
    ctx.db.insert(Note(text=text))
    return ctx.run_query(count)


@mutation
def write_later(ctx: MutationCtx, *, text: str = "later") -> None:
    """Write a note in a job."""
    ctx.scheduler.run_after(0, write, text=text)


def _router() -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.post("/notes/<text>")
    def create(ctx: ActionCtx, request: Request, text: str) -> dict[str, int]:
        return {"count": ctx.run_mutation(write, text=text)}

    @http.post("/later")
    def later(ctx: ActionCtx, request: Request) -> str:
        ctx.run_mutation(write_later)
        return "later"

    @http.get("/broken")
    def broken(ctx: ActionCtx, request: Request) -> None:
        raise ZeroDivisionError("by zero")

    @http.webhook("/hooks/github", GitHub(secret="s" * 32))
    def pushed(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Note(text="pushed"))

    @http.webhook("/hooks/queued", GitHub(secret="q" * 32), mode="enqueue")
    def queued(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Note(text="queued"))

    return http


@contextmanager
def _traced(folder: Path, *, tracing: bool = True) -> Iterator[Flask]:
    """Yield an app with traces, whose spans `_spans` returns."""
    if trace.get_tracer_provider() is not _PROVIDER:
        trace.set_tracer_provider(_PROVIDER)
    with deployed(
        folder, _router(), schema=Schema(Note), functions=[count, write, write_later], tracing=tracing
    ) as app:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        _EXPORTER.clear()
        yield app


def _spans() -> dict[str, ReadableSpan]:
    """Return the ended spans by name, and forget them."""
    ended = _EXPORTER.get_finished_spans()
    _EXPORTER.clear()
    assert all(span.end_time is not None and span.start_time is not None for span in ended)
    assert len({span.name for span in ended}) == len(ended)
    return {span.name: span for span in ended}


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _parent_of(span: ReadableSpan, spans: dict[str, ReadableSpan]) -> str | None:
    """Return the name of a span's parent."""
    parent = span.parent
    if parent is None:
        return None
    return next((name for name, other in spans.items() if other.context.span_id == parent.span_id), "unknown")


def _links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def test_a_request_is_a_tree_of_spans(tmp_path: Path) -> None:
    """A request, its function, transaction and nested function are spans inside of each other, and so is the app's."""
    with _traced(tmp_path) as app:
        headers = {"X-Request-Id": "abc"}
        assert app.test_client().post("/notes/tea?key=secret", headers=headers).json == {"count": 1}
        spans = _spans()
        parents = {name: _parent_of(span, spans) for name, span in spans.items()}
        assert parents == {
            "POST /notes/<text>": None,
            "test_spans:write": "POST /notes/<text>",
            "transaction test_spans:write": "test_spans:write",
            "test_spans:count": "transaction test_spans:write",
            "counting": "test_spans:count",
        }
        request = spans["POST /notes/<text>"]
        assert request.kind is SpanKind.SERVER
        assert _attributes(request) == {
            "convex.request.id": "abc",
            "http.request.method": "POST",
            "http.route": "/notes/<text>",
            "http.response.status_code": 200,
            "url.scheme": "http",
        }
        assert _attributes(spans["test_spans:write"])["code.function.name"] == "test_spans:write"
        transaction = _attributes(spans["transaction test_spans:write"])
        assert transaction["convex.transaction.attempts"] == 1
        assert transaction["db.system.name"] in ("sqlite", "postgresql")
        for span in spans.values():
            assert span.status.status_code is not StatusCode.ERROR
            assert "secret" not in span.to_json() and "tea" not in span.to_json()
        inner, outer = spans["test_spans:count"], spans["POST /notes/<text>"]
        assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time  # type: ignore[operator]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_request_continues_the_trace_of_its_headers(tmp_path: Path) -> None:
    """A request with `traceparent` is a part of that trace, and a malformed header begins a new one."""
    with _traced(tmp_path) as app:
        app.test_client().post("/notes/tea", headers=_INCOMING)
        request = _spans()["POST /notes/<text>"]
        assert request.parent is not None
        assert (request.context.trace_id, request.parent.span_id) == (int(_TRACE, 16), int(_PARENT, 16))
        for value in ("nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff" * 500):
            assert app.test_client().post("/notes/tea", headers={"traceparent": value}).status_code == 200
            assert _spans()["POST /notes/<text>"].parent is None


def test_an_instrumentation_around_the_app_comes_first(tmp_path: Path) -> None:
    """Where a span is current already, the request is a part of it, and not of the span in its headers."""
    with _traced(tmp_path) as app, trace.get_tracer("server").start_as_current_span("around") as around:
        app.test_client().post("/notes/tea", headers=_INCOMING)
        request = _spans()["POST /notes/<text>"]
        assert request.parent is not None
        assert request.parent.span_id == around.get_span_context().span_id


def test_errors(tmp_path: Path) -> None:
    """A function that raises is an error with its exception. A request is one with a status of 5xx only."""
    with _traced(tmp_path) as app:
        assert app.test_client().post("/notes/%20").status_code == 400
        spans = _spans()
        for name in ("test_spans:write", "transaction test_spans:write"):
            assert spans[name].status.status_code is StatusCode.ERROR
            assert _attributes(spans[name])["error.type"] == "ConvexError"
            assert "A note has a text" in str(dict(spans[name].events[0].attributes or {})["exception.message"])
        assert spans["POST /notes/<text>"].status.status_code is StatusCode.UNSET
        assert app.test_client().get("/broken").status_code == 500
        broken = _spans()["GET /broken"]
        assert broken.status.status_code is StatusCode.ERROR
        assert _attributes(broken)["error.type"] == "ZeroDivisionError"
        assert app.test_client().get("/no/such/path").status_code == 404
        assert list(_spans()) == ["GET"]
        app.test_client().open("/x", method="BREW")
        assert list(_spans()) == ["HTTP"]


def test_a_job_is_linked_to_what_has_scheduled_it(tmp_path: Path) -> None:
    """A job begins a trace of its own, with a link to the transaction that has scheduled it. Its batch is a span."""
    with _traced(tmp_path) as app:
        app.test_client().post("/later", headers=_INCOMING)
        scheduling = _spans()
        with app.app_context():
            run_scheduled(app)
        spans = _spans()
        assert "batch of jobs" in spans
        job = spans["run test_spans:write"]
        assert job.kind is SpanKind.CONSUMER
        assert (job.parent, job.context.trace_id == int(_TRACE, 16)) == (None, False)
        assert [link.context.trace_id for link in job.links] == [int(_TRACE, 16)]
        assert _links(job) == [scheduling["transaction test_spans:write_later"].context.span_id]
        attributes = _attributes(job)
        assert (attributes["convex.job.outcome"], attributes["convex.job.attempt"]) == ("success", 1)
        assert attributes["convex.job.lag_seconds"] >= 0
        assert attributes["convex.job.id"]


def test_a_delivery(tmp_path: Path) -> None:
    """A delivery is a span of its request with its source, type and state. A rejected one is an event of it."""
    with _traced(tmp_path) as app:
        deliver(app.test_client(), "/hooks/github", "push")
        spans = _spans()
        delivery = spans["process /hooks/github"]
        assert _parent_of(delivery, spans) == "POST /hooks/github"
        attributes = _attributes(delivery)
        assert (attributes["convex.delivery.state"], attributes["convex.delivery.type"]) == ("done", "push")
        assert attributes["messaging.destination.name"] == "/hooks/github"
        app.test_client().post("/hooks/github", data=b"{}", headers={"X-Hub-Signature-256": "sha256=" + "0" * 64})
        [event] = _spans()["POST /hooks/github"].events
        assert event.name == "convex.delivery.rejected"


def test_a_processed_delivery_is_linked_to_its_arrival(tmp_path: Path) -> None:
    """The span of a worker that processes a delivery has a link into the trace of the request that brought it."""
    with _traced(tmp_path) as app:
        deliver(app.test_client(), "/hooks/queued", "push")
        arrival = _spans()
        assert _attributes(arrival["process /hooks/queued"])["convex.delivery.state"] == "accepted"
        with app.app_context():
            run_scheduled(app)
        processed = _spans()["process /hooks/queued"]
        assert _attributes(processed)["convex.delivery.state"] == "done"
        [link] = processed.links
        assert link.context.trace_id == arrival["POST /hooks/queued"].context.trace_id
        assert processed.context.trace_id != link.context.trace_id


def test_without_tracing_there_are_no_spans(tmp_path: Path) -> None:
    """An app without tracing makes no span, and stores no trace with its jobs."""
    with _traced(tmp_path, tracing=False) as app, app.app_context():
        with trace.get_tracer("server").start_as_current_span("around"):
            app.test_client().post("/later")
        assert list(_spans()) == ["around"]
        assert not backend_of(app).telemetry.is_on
        [job] = backend_of(app).job_control.list_jobs(limit=5)
        assert job.trace is None


def test_only_a_boolean_switches_tracing_on() -> None:
    """Another value than True or False is an error that says so."""
    with pytest.raises(RegistrationError, match="tracing='yes' must be True or False"):
        ConvexHTTP(tracing="yes")  # type: ignore[arg-type]  # what is tested


@LONG
def test_without_tracing_nothing_is_imported() -> None:
    """An app without tracing does not import OpenTelemetry, and one with tracing names the missing package."""
    program = """
import sys
from flask import Flask
from flask_convex_http import ConvexHTTP
ConvexHTTP(Flask("shop"))
assert not [name for name in sys.modules if name.startswith(("flask_convex_http.tracing", "opentelemetry"))]
sys.modules["opentelemetry"] = None
ConvexHTTP(Flask("shop"), tracing=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "tracing=True needs OpenTelemetry's API" in result.stderr.splitlines()[-1]
