"""Handlers that the engine runs again after a rollback caused by another write."""

from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, cast

from flask_convex_http import GitHub, MutationCtx, UnavailableError, WebhookEvent
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.transactions import SQLiteTransaction
from flask_convex_http.ids import new_id
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.schema.system_tables import WebhookRequest
from tests.databases import EACH_ENGINE, POSTGRES_ONLY, SQLITE_ONLY
from tests.inbox.receiving import Boom, Effect, Receiver, receiving
from tests.sqlite.crews import PATIENCE, crew
from tests.webhooks.senders import BODY, SECRET, sign_github

pytestmark = EACH_ENGINE


def fill_the_disk(receiver: Receiver, transaction: SQLiteTransaction) -> None:
    """Write more than fits; SQLite rolls back the whole transaction with all its members."""
    table = receiver.backend.schema.table_for(Effect)
    transaction._connection.execute("PRAGMA max_page_count = 500")  # a full disk to SQLite
    transaction.insert(table, (new_id(table.name, 1.0), 1.0, "x" * 10_000_000))


@SQLITE_ONLY
def test_the_payload_is_as_it_came(tmp_path: Path) -> None:
    """Changes that a rolled back run makes to its event are not visible in the next run."""
    seen: list[tuple[WebhookEvent, str | None]] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        item = event.data["object"].pop("item", None)
        seen.append((event, item))
        ctx.db.insert(Effect(event=str(item)))

    with receiving(tmp_path, handler, is_kept=True) as receiver:
        engine = receiver.backend.engine
        assert isinstance(engine, SQLiteEngine)
        receiver.backend.runtime.logs.prepare(engine, 0.0)  # a write of its own, before the first delivery
        with crew(engine) as members:
            members.hold()
            delivered, filled = members.queue_calls(
                partial(receiver.deliver, item="lamp"), partial(engine.write, partial(fill_the_disk, receiver))
            )
            members.let_go()
            wait([delivered, filled])
        assert isinstance(filled.exception(), UnavailableError)
        assert (delivered.result().status_code, receiver.effects, receiver.states) == (200, ["lamp"], ["done"])
    first, again = seen  # it ran twice, or the test tried nothing
    assert (first[1], again[1], first[0]) == ("lamp", "lamp", again[0])


@POSTGRES_ONLY
def test_the_payload_is_as_it_came_after_a_conflict(tmp_path: Path) -> None:
    """The same holds for a retry after a conflict with another transaction."""
    seen: list[str | None] = []

    with ThreadPoolExecutor(1) as pool:

        def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
            seen.append(event.data["object"].pop("item", None))
            [total] = ctx.db.query(Effect).collect()
            if len(seen) == 1:
                pool.submit(change, total.id, "theirs").result(PATIENCE)
                assert ctx.db.get(total.id) == total
            ctx.db.patch(total.id, event=f"{ctx.db.query(Effect).unique()} and {seen[-1]}")

        with receiving(tmp_path, handler) as receiver:
            change = partial(_change, receiver)
            receiver.backend.runtime.transact(lambda ctx: ctx.db.insert(Effect(event="")), receiver.backend.caller())
            assert receiver.deliver(item="lamp").status_code == 200
            assert (seen, receiver.states) == (["lamp", "lamp"], ["done"])
            [effect] = receiver.effects
            assert "theirs" in effect and effect.endswith("and lamp")


def _change(receiver: Receiver, effect: Any, event: str) -> None:
    receiver.backend.runtime.transact(lambda ctx: ctx.db.patch(effect, event=event), receiver.backend.caller())


def test_the_headers_are_as_they_came(tmp_path: Path) -> None:
    """Changes that a handler makes to GitHub's headers do not reach the stored headers."""
    types: list[str] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        types.append(event.type)
        cast(dict[str, str], event.headers).clear()
        raise Boom

    with receiving(tmp_path, handler, GitHub(secret=SECRET)) as receiver:
        assert receiver.send(BODY, sign_github).status_code == 500
        assert Replays(receiver.backend.inbox).retry(receiver.delivery.id).outcome == "failed"
        assert types == ["order.paid"] * 2
        [request] = receiver.rows(WebhookRequest)
        assert request.headers["x-github-event"] == "order.paid"
