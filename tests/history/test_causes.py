"""The cause of a commit, undo of requests and deliveries, the commands, and the change feed over HTTP."""

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request

from flask_convex_http import (
    ActionCtx,
    Commit,
    ConvexError,
    Crons,
    Document,
    HmacSignature,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    Schema,
    WebhookEvent,
    internal_action,
    internal_mutation,
    internal_query,
    require_bearer,
)
from flask_convex_http.testing import Clock, deliver, run_scheduled
from tests.web.apps import backend_of, deployed

SECRET = "a secret of thirty-two characters"
ADD = "test_causes:add"
SENDER = HmacSignature(secret=SECRET, header="X-Signature", id_field="id", type_field="type")


class Lamp(Document, table="lamps"):
    name: str
    price: int = 0


class Secret(Document, table="secrets"):
    text: str


@internal_mutation
def add(ctx: MutationCtx, *, name: str) -> Id[Lamp]:
    """Add a lamp."""
    return ctx.db.insert(Lamp(name=name))


@internal_mutation
def nested(ctx: MutationCtx) -> None:
    """Add a lamp, and fail to add another one in a part that is rolled back."""
    ctx.run_mutation(add, name="kept")
    with contextlib.suppress(ConvexError):
        ctx.run_mutation(fail, name="lost")


@internal_mutation
def fail(ctx: MutationCtx, *, name: str) -> None:
    """Add a lamp and fail."""
    ctx.db.insert(Lamp(name=name))
    raise ConvexError("no")


@internal_action
def later(ctx: ActionCtx) -> None:
    """Add a lamp from an action."""
    ctx.run_mutation(add, name="action")


@internal_query
def names(ctx: QueryCtx) -> list[str]:
    """Return the names of all lamps."""
    return [lamp.name for lamp in ctx.db.query(Lamp).collect()]


def router() -> HttpRouter:
    """Return the routes and the webhook of the app."""
    http = HttpRouter("http", __name__)

    @http.post("/lamps/<name>")
    @require_bearer
    def add_lamp(ctx: ActionCtx, request: Request, name: str) -> str:
        ctx.scheduler.run_after(0, add, name=f"{name} later")
        return ctx.run_mutation(add, name=name)

    @http.post("/once", idempotent="optional")
    def once(ctx: MutationCtx, request: Request) -> str:
        return ctx.db.insert(Lamp(name="once"))

    @http.webhook("/hook", SENDER, source="hook")
    def on_hook(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Lamp(name=event.id))

    @http.webhook("/queue", SENDER, source="queue", mode="enqueue")
    def on_queue(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Lamp(name=event.id))

    http.changes("/changes", seconds=0.0, tables=[Lamp], max_clients=1)
    return http


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """The app."""
    crons = Crons()
    crons.interval("nightly", timedelta(hours=1), add, name="cron")
    functions: list[Any] = [add, nested, fail, later, names]
    schema = Schema(Lamp, Secret)
    with deployed(tmp_path, router(), schema=schema, functions=functions, crons=crons, clock=Clock()) as created:
        yield created


def log(app: Flask) -> list[Commit]:
    """Return all commits, oldest first."""
    return backend_of(app).history.log(limit=100)[::-1]


def lamps(app: Flask) -> list[str]:
    """Return the names of all lamps."""
    found: list[str] = backend_of(app).ctx().run_query(names)
    return found


def convex(app: Flask, *arguments: str) -> str:
    """Run a command that succeeds, and return its output."""
    result = app.test_cli_runner().invoke(args=["convex", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_cause_of_a_request(app: Flask) -> None:
    """A commit has the id of its request, the function, and the subject of the identity. Its job has its own id."""
    with app.app_context():
        token = backend_of(app).tokens.create(subject="ada", scopes=["read"])[0]
    client = app.test_client()
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "req-1"}
    assert client.post("/lamps/desk", headers=headers).status_code == 200
    [job] = [job for job in run_scheduled(app) if job.args["name"] == "desk later"]
    causes = {(each.request_id, each.function, each.identity, each.job, each.cron) for each in log(app)}
    assert {("req-1", ADD, "ada", None, None), (None, ADD, None, job.id, None)} <= causes


def test_the_cause_of_a_cron_and_of_an_action(app: Flask) -> None:
    """A commit has its job, and the cron that has scheduled it. A mutation of an action has the action's job."""
    backend_of(app).crons.register()
    backend_of(app).ctx().scheduler.run_after(0, later)
    run_scheduled(app)
    by_name = {commit.changes[0].document.name: commit for commit in log(app)}  # type: ignore[union-attr]  # inserts
    assert by_name["cron"].cron == "nightly"
    assert by_name["cron"].job is not None
    assert (by_name["action"].cron, by_name["action"].job is not None) == (None, True)


def test_a_part_that_failed_is_not_logged(app: Flask) -> None:
    """The log has one commit for a mutation with all its parts, without those that were rolled back."""
    backend_of(app).ctx().run_mutation(nested)
    [commit] = log(app)
    assert [change.document.name for change in commit.changes] == ["kept"]  # type: ignore[union-attr]  # an insert


def test_the_cause_of_a_delivery(app: Flask) -> None:
    """The commit of a webhook has its delivery and its request, before the response or by a worker."""
    client = app.test_client()
    for source in ("hook", "queue"):
        assert deliver(client, source, {"id": f"of-{source}", "type": "t"})[0].status_code < 300
    run_scheduled(app)
    with backend_of(app).engine.snapshot() as snapshot:
        deliveries = {each.source: each for each in backend_of(app).inbox.deliveries.of_state(snapshot, "done")}
    found = {commit.changes[0].document.name: commit for commit in log(app)}  # type: ignore[union-attr]  # inserts
    for source in ("hook", "queue"):
        commit, delivery = found[f"of-{source}"], deliveries[source]
        assert (commit.delivery, commit.request_id) == (delivery.id, delivery.request_id)
        assert commit.function == f"on_{source}"


def test_undo_of_a_delivery(app: Flask) -> None:
    """An undone delivery keeps its row, and a duplicate runs nothing. A replay runs it again."""
    client = app.test_client()
    assert deliver(client, "hook", {"id": "evt_1", "type": "t"})[0].status_code == 200
    assert lamps(app) == ["evt_1"]
    assert "deleted lamps_" in convex(app, "undo", "evt_1", "--dry-run")
    assert lamps(app) == ["evt_1"]
    assert "is marked as undone" in convex(app, "undo", "evt_1")
    assert deliver(client, "hook", {"id": "evt_1", "type": "t"})[0].status_code == 200
    assert lamps(app) == []
    assert "undone" in convex(app, "webhooks", "list")
    convex(app, "webhooks", "replay", "evt_1", "--yes")
    assert lamps(app) == ["evt_1"]
    assert json.loads(convex(app, "undo", "evt_1", "--json"))["deliveries"]


def test_undo_of_an_idempotent_request(app: Flask) -> None:
    """A request is undone by its id, and an undo of nothing is an error on one line."""
    app.test_client().post("/once", headers={"X-Request-Id": "req-7"})
    assert lamps(app) == ["once"]
    assert convex(app, "undo", "req-7").startswith("deleted lamps_")
    assert lamps(app) == []
    result = app.test_cli_runner().invoke(args=["convex", "undo", "req-7"])
    assert (result.exit_code, result.stderr) == (1, "Error: req-7 is undone already\n")


def test_numbers_of_many_commits_are_ranges(app: Flask) -> None:
    """A request of successive commits is printed as a range, also in the list of commits."""
    backend = backend_of(app)
    for name in ("a", "b", "between", "c"):
        request_id = None if name == "between" else "req-8"
        backend.ctx(request_id=request_id).run_mutation(add, name=name)
    assert "Undid commits 1-2, 4: 3 rows changed." in convex(app, "undo", "req-8")
    assert "undo of 1-2, 4 " in convex(app, "log", "--limit", "1")


def test_log_and_why_and_erase(app: Flask) -> None:
    """The commands list commits and the changes of a document, filter them, and erase a history."""
    lamp = backend_of(app).ctx().run_mutation(add, name="a\n\x1b")
    backend_of(app).runtime.transact(lambda ctx: ctx.db.patch(lamp, name="b"), backend_of(app).caller())
    assert convex(app, "log").splitlines()[0].split() == ["COMMIT", "TIME", "CAUSE", "CHANGES"]
    assert [each["number"] for each in json.loads(convex(app, "log", "--json"))] == [2, 1]
    assert [each["number"] for each in json.loads(convex(app, "log", ADD, "--json"))] == [1]
    assert convex(app, "log", "--table", "secrets") == "No commits match.\n"
    assert [each["operation"] for each in json.loads(convex(app, "why", lamp, "--json"))] == ["update", "insert"]
    assert '{"name":"a\\n\\u001b"}' in convex(app, "why", lamp)
    assert convex(app, "erase", lamp, "--yes") == "Erased 2 changes.\n"
    assert '"a' not in convex(app, "why", lamp)
    for wrong in ("nonsense", "_webhooks_" + "0" * 32):
        assert app.test_cli_runner().invoke(args=["convex", "why", wrong]).exit_code == 1


def events(app: Flask, since: str | None = None, **options: Any) -> list[dict[str, str]]:
    """Return the events of one response of the feed, each with its fields."""
    with app.app_context():
        key = backend_of(app).api_keys.create(name="feed", scopes=["changes"])[0]
    headers = {"X-API-Key": key} | ({} if since is None else {"Last-Event-ID": since})
    response = app.test_client().get("/changes", headers=headers, **options)
    assert (response.status_code, response.mimetype) == (200, "text/event-stream"), response.text
    blocks = [block for block in response.text.split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_the_feed_is_resumed(app: Flask) -> None:
    """A client that reconnects with the id of its last event gets the commits after it, each once and whole."""
    seen: list[Any] = []
    last = "0"
    for turn in range(5):
        backend_of(app).ctx().run_mutation(add, name=f"lamp {turn}")
        backend_of(app).runtime.transact(lambda ctx: ctx.db.insert(Secret(text="hidden")), backend_of(app).caller())
        for event in events(app, last):
            last = event["id"]
            if "data" in event:
                seen.append(json.loads(event["data"]))
    assert [change["document"]["name"] for commit in seen for change in commit["changes"]] == [
        f"lamp {turn}" for turn in range(5)
    ]
    assert last == str(backend_of(app).history.feed.last_commit())
    assert "hidden" not in repr(seen)
    assert [event["id"] for event in events(app)] == [last]


def test_the_feed_is_guarded(app: Flask) -> None:
    """Without a key with the scope the response is 401 or 403, and a cursor that cannot be continued is 400 or 410."""
    client = app.test_client()
    with app.app_context():
        other = backend_of(app).api_keys.create(name="other", scopes=["read"])[0]
        key = backend_of(app).api_keys.create(name="feed", scopes=["changes"])[0]
    assert client.get("/changes").status_code == 401
    assert client.get("/changes", headers={"X-API-Key": other}).status_code == 403
    statuses = [
        client.get(f"/changes?since={since}", headers={"X-API-Key": key}).status_code
        for since in ("x", "-1", "1" * 16, "²", "99", "0")
    ]
    assert statuses == [400, 400, 400, 400, 410, 200]


def test_too_many_clients(app: Flask) -> None:
    """One client more than allowed is 503, until another one has ended."""
    with app.app_context():
        key = {"X-API-Key": backend_of(app).api_keys.create(name="feed", scopes=["changes"])[0]}
    first = app.test_client().get("/changes", headers=key, buffered=False)
    assert first.status_code == 200
    second = app.test_client().get("/changes", headers=key)
    assert (second.status_code, "Retry-After" in second.headers) == (503, True)
    first.close()
    assert app.test_client().get("/changes", headers=key).status_code == 200


def test_options_of_the_feed_are_checked() -> None:
    """Options that cannot work are refused when the route is registered."""
    http = HttpRouter("http", __name__)
    wrong: list[dict[str, Any]] = [{"seconds": -1}, {"seconds": "x"}, {"max_clients": 0}, {"tables": [int]}]
    for options in wrong:
        with pytest.raises(RegistrationError, match=r"changes\("):
            http.changes("/changes", **options)
