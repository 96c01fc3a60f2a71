"""A handler that the writer has to run again, because another write has undone all that were written with it."""

from concurrent.futures import wait
from functools import partial
from pathlib import Path

import pytest

from flask_convex_http import MutationCtx, UnavailableError, WebhookEvent, sqlite_writer
from flask_convex_http.engines.sqlite import SQLiteEngine, SQLiteTransaction
from flask_convex_http.ids import new_id
from tests.inbox.receiving import ON_DISK, Effect, Receiver, receiving
from tests.sqlite.crews import PATIENCE, crew


def fill_the_disk(receiver: Receiver, transaction: SQLiteTransaction) -> None:
    """Write more than there is room for; SQLite undoes the whole transaction, and those of the others in it."""
    table = receiver.backend.schema.table_for(Effect)
    transaction._connection.execute("PRAGMA max_page_count = 500")  # to SQLite, a full disk
    transaction.insert(table, (new_id(table.name, 1.0), 1.0, "x" * 10_000_000))


def test_the_payload_is_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler does to its event in a run that is undone is not there in the next one."""
    monkeypatch.setattr(sqlite_writer, "_BATCH_SECONDS", PATIENCE)  # or on a busy machine each is written alone
    seen: list[tuple[WebhookEvent, str | None]] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        item = event.data["object"].pop("item", None)
        seen.append((event, item))
        ctx.db.insert(Effect(event=str(item)))

    with receiving(tmp_path, handler, config=ON_DISK) as receiver:
        engine = receiver.backend.engine
        assert isinstance(engine, SQLiteEngine)
        with crew(engine) as members:
            members.hold()
            delivered, filled = members.queue_calls(
                partial(receiver.deliver, item="lamp"), partial(engine.write, partial(fill_the_disk, receiver))
            )
            members.let_go()
            wait([delivered, filled])
        assert isinstance(filled.exception(), UnavailableError)
        assert (delivered.result().status_code, receiver.effects, receiver.states) == (200, ["lamp"], ["done"])
    first, again = seen  # it has run twice, or else nothing was tried here
    assert (first[1], again[1], first[0]) == ("lamp", "lamp", again[0])
