"""The clock and the memory backend, for the tests of applications."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from flask_convex_http import (
    ActionCtx,
    Document,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    internal_mutation,
    internal_query,
)
from flask_convex_http.testing import Clock, memory_backend
from tests.web.apps import deployed, send


class Note(Document, table="notes"):
    """A note."""

    text: str


@internal_mutation
def add(ctx: MutationCtx, *, text: str) -> Id[Note]:
    """Add a note."""
    return ctx.db.insert(Note(text=text))


@internal_query
def texts(ctx: QueryCtx) -> list[str]:
    """Return the texts of all notes."""
    return [note.text for note in ctx.db.query(Note).collect()]


@internal_query
def now(ctx: QueryCtx) -> float:
    """Return the time of the query."""
    return ctx.now


FUNCTIONS: list[Any] = [add, texts, now]


def test_clock_stands_still() -> None:
    """A clock starts at the given time, stands still, and moves only by advance()."""
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock() == clock() == 1_767_225_600_000
    clock.advance(timedelta(milliseconds=1, hours=1))
    assert clock() == 1_767_225_600_000 + 3_600_001
    clock.advance(-timedelta(hours=1))
    assert clock() == 1_767_225_600_001


def test_clock_needs_a_time_zone() -> None:
    """A naive datetime, whose time depends on the machine, is rejected with what to write."""
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        Clock(datetime(2027, 1, 1))


def test_clock_starts_now() -> None:
    """Without a start time a clock starts at the present."""
    before = datetime.now(UTC).timestamp() * 1000
    assert before <= Clock()() <= datetime.now(UTC).timestamp() * 1000


def test_memory_backend_runs_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory backend is migrated, runs functions of any thread at the clock's time, and creates no file."""
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    with memory_backend(Schema(Note), functions=FUNCTIONS, clock=clock) as backend:
        note_id = backend.ctx().run_mutation(add, text="a")
        assert note_id.startswith("notes_")
        assert backend.ctx().run_query(now) == clock()
        seen: list[list[str]] = []
        thread = threading.Thread(target=lambda: seen.append(backend.ctx().run_query(texts)))
        thread.start()
        thread.join()
        file_id = backend.ctx().storage.store(b"bytes")
        assert backend.ctx().storage.get_metadata(file_id) is not None
    assert seen == [["a"]]
    assert list(tmp_path.iterdir()) == []


def test_memory_backends_are_separate() -> None:
    """Two memory backends share nothing, whether they are open at the same time or not."""
    with memory_backend(Schema(Note), FUNCTIONS) as first, memory_backend(Schema(Note), FUNCTIONS) as second:
        first.ctx().run_mutation(add, text="a")
        assert second.ctx().run_query(texts) == []
    with memory_backend(Schema(Note), FUNCTIONS) as third:
        assert third.ctx().run_query(texts) == []


def test_memory_backend_closes_after_an_error() -> None:
    """An exception in the block closes the memory backend and propagates."""
    with pytest.raises(KeyError), memory_backend(Schema(Note), FUNCTIONS):
        raise KeyError


def test_app_takes_a_clock(tmp_path: Path) -> None:
    """ConvexHTTP takes a clock, so that an app's tests can control time."""
    clock, http = Clock(), HttpRouter("http", __name__)

    @http.get("/now")
    def get(ctx: ActionCtx, request: Request) -> dict[str, float]:
        return {"now": ctx.run_query(now)}

    with deployed(tmp_path, http, schema=Schema(Note), functions=FUNCTIONS, clock=clock) as app:
        for _ in range(2):
            assert send(app, "GET", "/now").json == {"now": clock()}
            clock.advance(timedelta(days=1))
