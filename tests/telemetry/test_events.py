"""The events of a deployment: one for each request, function, transaction, delivery and job, with its outcome."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from flask import Flask, Request

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    GitHub,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    action,
    mutation,
    query,
)
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.telemetry import (
    DeliveryFinished,
    DeliveryRejected,
    Event,
    FunctionFinished,
    GroupCommitted,
    JobFinished,
    RequestFinished,
    Scope,
    TransactionFinished,
    current_scope,
)
from flask_convex_http.testing import deliver, run_scheduled
from tests.web.apps import backend_of, deployed

E = TypeVar("E")
pytestmark = pytest.mark.usefixtures("each_engine")


class Note(Document, table="notes"):
    """A note."""

    text: str


@query
def count(ctx: QueryCtx) -> int:
    """Count the notes."""
    return len(ctx.db.query(Note).collect())


@mutation
def write(ctx: MutationCtx, *, text: str) -> int:
    """Write a note, and count them."""
    if text == "":
        raise ConvexError("A note has a text")
    ctx.db.insert(Note(text=text))
    return ctx.run_query(count)


@mutation
def write_later(ctx: MutationCtx, *, text: str) -> None:
    """Write a note in a job."""
    ctx.scheduler.run_after(0, write, text=text)


@action
def call_out(ctx: ActionCtx) -> None:
    """Run a mutation from an action."""
    ctx.run_mutation(write, text="from an action")


def _router() -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.post("/notes/<text>")
    def create(ctx: ActionCtx, request: Request, text: str) -> dict[str, int]:
        return {"count": ctx.run_mutation(write, text=text.strip())}

    @http.post("/later")
    def later(ctx: ActionCtx, request: Request) -> dict[str, int]:
        ctx.run_mutation(write_later, text="later")
        return {}

    @http.get("/broken")
    def broken(ctx: ActionCtx, request: Request) -> None:
        raise ZeroDivisionError

    github = http.webhook("/hooks/github", GitHub(secret="s" * 32))

    @github.on("push")
    def pushed(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Note(text="pushed"))

    @github.on("issues")
    def broke(ctx: MutationCtx, event: WebhookEvent) -> None:
        raise ValueError("no issues")

    @http.webhook("/hooks/queued", GitHub(secret="q" * 32), mode="enqueue")
    def queued(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Note(text="queued"))

    return http


@contextmanager
def _observed(folder: Path) -> Iterator[tuple[Flask, list[Event]]]:
    """Yield an app and the list of its events."""
    events: list[Event] = []
    functions: list[Any] = [count, write, write_later, call_out]
    with deployed(folder, _router(), schema=Schema(Note), functions=functions) as app:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        backend_of(app).telemetry.subscribe(events.append)
        yield app, events


def _of(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def test_a_request_and_what_it_runs(tmp_path: Path) -> None:
    """A request that runs a mutation is a request, two functions and a transaction, all with one request id."""
    with _observed(tmp_path) as (app, events):
        response = app.test_client().post("/notes/tea?key=secret", headers={"X-Request-Id": "abc"})
        assert response.get_json() == {"count": 1}
        (request,) = _of(RequestFinished, events)
        assert (request.method, request.route, request.status) == ("POST", "/notes/<text>", 200)
        inner, outer = _of(FunctionFinished, events)
        assert (inner.name, inner.kind, inner.is_nested) == ("test_events:count", "query", True)
        assert (outer.name, outer.kind, outer.is_nested) == ("test_events:write", "mutation", False)
        (transaction,) = _of(TransactionFinished, events)
        assert (transaction.name, transaction.attempts) == ("test_events:write", 1)
        assert 0 <= transaction.wait <= transaction.seconds <= outer.seconds <= request.seconds
        for event in (request, inner, outer, transaction):
            assert event.scope.request_id == "abc"
            assert event.error is None
        assert current_scope() is None


def test_errors_are_those_of_the_code(tmp_path: Path) -> None:
    """A failed function, its transaction and its request have the exception, and so has a 500."""
    with _observed(tmp_path) as (app, events):
        assert app.test_client().post("/notes/ ").status_code == 400
        (request,) = _of(RequestFinished, events)
        (function,) = _of(FunctionFinished, events)
        (transaction,) = _of(TransactionFinished, events)
        assert request.status == 400
        for event in (request, function, transaction):
            assert isinstance(event.error, ConvexError)
        events.clear()
        assert app.test_client().get("/broken").status_code == 500
        (request,) = _of(RequestFinished, events)
        assert (request.status, type(request.error)) == (500, ZeroDivisionError)


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing/here"), ("BREW", "/later"), ("PUT", "/later")])
def test_what_no_route_has_is_named_by_none(tmp_path: Path, method: str, path: str) -> None:
    """A path or a method that no route has gives an event without a route, so names from outside stay few."""
    with _observed(tmp_path) as (app, events):
        app.test_client().open(path, method=method)
        (request,) = _of(RequestFinished, events)
        assert request.route is None
        assert request.method in ("GET", "PUT", "_OTHER")
        assert request.status in (404, 405)


def test_jobs_are_published_after_their_end_is_committed(tmp_path: Path) -> None:
    """A job is an event with its outcome, its lag and its exception, and its function is one of its own."""
    with _observed(tmp_path) as (app, events), app.app_context():
        app.test_client().post("/later")
        backend = backend_of(app)
        backend.ctx().run_mutation(write_later, text="")
        backend.runtime.transact(lambda ctx: ctx.scheduler.run_after(0, call_out), backend.caller())
        events.clear()
        run_scheduled(app)
        jobs = _of(JobFinished, events)
        assert sorted((job.name, job.outcome, type(job.error)) for job in jobs) == [
            ("test_events:call_out", "success", type(None)),
            ("test_events:write", "failed", ConvexError),
            ("test_events:write", "success", type(None)),
        ]
        assert all(job.lag is not None and job.lag >= 0 and job.attempt == 1 for job in jobs)
        ids = {job.id for job in jobs}
        assert {event.job for event in _of(FunctionFinished, events)} == ids
        assert all(event.scope.function == event.name for event in _of(FunctionFinished, events))


def test_deliveries(tmp_path: Path) -> None:
    """A delivery is an event with its state: done, duplicate, unhandled, failed, or rejected for a reason."""
    with _observed(tmp_path) as (app, events):
        client, path = app.test_client(), "/hooks/github"
        deliver(client, "github", "push", path=path, duplicate=2)
        deliver(client, "github", "release", path=path)
        deliver(client, "github", "issues", path=path)
        found = _of(DeliveryFinished, events)
        assert [event.state for event in found] == ["done", "duplicate", "unhandled", "failed"]
        assert {(event.source, event.provider) for event in found} == {(path, "github")}
        assert "no issues" in str(found[-1].error)
        assert found[0].scope.function is not None
        client.post(path, data=b"{}", headers={"X-Hub-Signature-256": "sha256=" + "0" * 64})
        (rejected,) = _of(DeliveryRejected, events)
        assert (rejected.source, rejected.reason) in {(path, "no-match"), (path, "missing-header")}


def test_a_delivery_of_a_worker(tmp_path: Path) -> None:
    """An enqueued delivery is accepted by the request, and done after the commit of the job."""
    with _observed(tmp_path) as (app, events):
        deliver(app.test_client(), "/hooks/queued", "push")
        (accepted,) = _of(DeliveryFinished, events)
        assert accepted.state == "accepted"
        events.clear()
        run_scheduled(app)
        (done,) = _of(DeliveryFinished, events)
        assert (done.state, done.event_id) == ("done", accepted.event_id)
        assert done.scope.request_id == accepted.scope.request_id


def test_reruns_of_deliveries(tmp_path: Path) -> None:
    """A retry and a replay are events with their outcomes, and a refused rerun is none."""
    with _observed(tmp_path) as (app, events), app.app_context():
        for kind in ("push", "issues"):
            deliver(app.test_client(), "github", kind, path="/hooks/github")
        inbox = backend_of(app).inbox
        pushed, failed = (inbox.ids_named(event.event_id)[0] for event in _of(DeliveryFinished, events))
        events.clear()
        replays = Replays(inbox)
        assert replays.retry(pushed).outcome == "refused"
        assert _of(DeliveryFinished, events) == []
        replays.replay(pushed)
        replays.retry(failed)
        done, again = _of(DeliveryFinished, events)
        assert [done.state, again.state] == ["done", "failed"]
        assert (done.type, done.scope.function) == ("push", "pushed")
        assert "no issues" in str(again.error)
        events.clear()
        deliver(app.test_client(), "/hooks/queued", "push")
        [waiting] = inbox.ids_named(_of(DeliveryFinished, events)[0].event_id)
        assert replays.retry(waiting).outcome == "queued"
        assert [event.state for event in _of(DeliveryFinished, events)] == ["accepted", "accepted"]


def test_a_subscriber_that_fails_breaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a subscriber is logged once, and the request has its response."""

    def fail(_: Any) -> None:
        raise RuntimeError("a subscriber")

    with _observed(tmp_path) as (app, events):
        backend_of(app).telemetry.subscribe(fail, fail)
        assert app.test_client().post("/notes/tea").status_code == 200
        assert app.test_client().post("/notes/tea").status_code == 200
        assert len(_of(RequestFinished, events)) == 2
        assert caplog.text.count("RuntimeError: a subscriber") == 1


def test_scopes_are_known_when_they_start(tmp_path: Path) -> None:
    """A subscriber sees each scope at its start, inside of the one around it, and may keep a span with it."""
    scopes: list[Scope] = []

    def start(scope: Scope) -> None:
        assert current_scope() is scope
        assert (scope.carrier is not None) == (scope.kind == "request")
        scope.span = len(scopes)
        scopes.append(scope)

    with _observed(tmp_path) as (app, events):
        backend_of(app).telemetry.subscribe(lambda event: None, start)
        app.test_client().post("/notes/tea")
        assert [scope.kind for scope in scopes] == ["request", "function", "transaction", "function"]
        assert [scope.parent for scope in scopes] == [None, *scopes[:-1]]
        assert scopes[0].carrier is None, "a subscriber that keeps scopes keeps no request"
        ended = [event.scope.span for event in events if not isinstance(event, (GroupCommitted, DeliveryRejected))]
        assert sorted(ended) == [0, 1, 2, 3]
