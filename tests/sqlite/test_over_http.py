"""The writer behind HTTP: responses during overload, and the request that a mutation sees."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request, current_app, g, request
from werkzeug.test import TestResponse

from flask_convex_http import ActionCtx, Document, HttpRouter, MutationCtx, QueryCtx, Schema, mutation, query
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.sqlite.connections import sqlite3
from tests.sqlite.crews import Crew, crew
from tests.sqlite.limits import no_longer_files
from tests.web.apps import backend_of, deployed, send

#: Seconds for which a write waits in these tests, and within which it must fail: less than the ten of the default.
TIMEOUT, MARGIN = 0.3, 8.0
FILE = "notes.db"


class Note(Document, table="notes"):
    text: str


@mutation
def add(ctx: MutationCtx, *, text: str) -> list[Any]:
    """Add a note, and return the request that the mutation sees."""
    ctx.db.insert(Note(text=text))
    return [request.args.get("text"), g.get("text"), current_app.name, threading.get_ident()]


@query
def texts(ctx: QueryCtx) -> list[str]:
    """Return all notes."""
    return sorted(note.text for note in ctx.db.query(Note))


def notes() -> HttpRouter:
    """Return a router with endpoints to write and to read."""
    http = HttpRouter("http", __name__)

    @http.before_request
    def remember() -> None:
        g.text = request.args.get("text")

    @http.get("/notes")
    def get(ctx: ActionCtx, request: Request) -> list[str]:
        return ctx.run_query(texts)

    @http.post("/notes")
    def post(ctx: ActionCtx, request: Request) -> list[Any]:
        return [*ctx.run_mutation(add, text=request.args["text"]), threading.get_ident()]

    return http


@contextmanager
def app_with(folder: Path, **config: Any) -> Iterator[Flask]:
    """Return an app with these settings on a file."""
    url = f"sqlite:///{FILE}"
    with deployed(
        folder, notes(), schema=Schema(Note), functions=[add, texts], CONVEX_DATABASE_URL=url, **config
    ) as app:
        backend = backend_of(app)
        backend.runtime.write(lambda _: None, backend.caller())  # the first one waits for a look at the commit log
        yield app


@pytest.fixture(name="app")
def _app(tmp_path: Path) -> Iterator[Flask]:
    """Return an app whose writes do not wait for long."""
    with app_with(tmp_path, CONVEX_WRITE_TIMEOUT=TIMEOUT) as app:
        yield app


def engine_of(app: Flask) -> SQLiteEngine:
    """Return the database of an app."""
    engine = backend_of(app).engine
    assert isinstance(engine, SQLiteEngine)
    return engine


def posting(app: Flask, text: str) -> Callable[[], TestResponse]:
    """Return a function that sends a write."""
    return lambda: send(app, "POST", "/notes", QUERY_STRING=f"text={text}")


def begin_log(app: Flask) -> None:
    """Make the first write of the process, which brings the commit log up to date. The others wait for it."""
    backend = backend_of(app)
    backend.runtime.logs.prepare(backend.engine, 0.0)


def assert_come_back(response: TestResponse, seconds: int, words: str) -> None:
    """Assert a JSON error with Retry-After, in the words of this package."""
    assert (response.status_code, response.headers["Retry-After"]) == (503, str(seconds))
    assert set(response.json or {}) == {"error"}
    assert words in response.get_data(as_text=True)
    assert "locked" not in response.get_data(as_text=True)


def texts_of(app: Flask) -> Any:
    """Return all notes; reads never wait."""
    start = time.monotonic()
    response = send(app, "GET", "/notes")
    assert time.monotonic() - start < MARGIN
    return response.json


def test_too_many_writes(tmp_path: Path) -> None:
    """With CONVEX_WRITE_QUEUE waiting writes, one more is 503 at once and is not written; the others are."""
    with app_with(tmp_path, CONVEX_WRITE_QUEUE=2) as app, crew(engine_of(app)) as members:
        begin_log(app)
        members.hold()
        waiting = members.queue_calls(posting(app, "a"), posting(app, "b"))
        start = time.monotonic()
        assert_come_back(posting(app, "c")(), 1, "Too many writes wait")
        assert time.monotonic() - start < MARGIN
        assert texts_of(app) == []
        members.let_go()
        assert [future.result().status_code for future in waiting] == [200, 200]
        assert texts_of(app) == ["a", "b"]


def test_a_write_that_waits_too_long(app: Flask) -> None:
    """A write that waited for CONVEX_WRITE_TIMEOUT is 503 and is not written later; a later one succeeds."""
    with crew(engine_of(app)) as members:
        held = members.hold()
        start = time.monotonic()
        late = [members.submit(posting(app, text)) for text in "abc"]
        for future in late:
            assert_come_back(future.result(), 1, "busy with other writes")
        assert TIMEOUT * 0.9 <= time.monotonic() - start < MARGIN
        members.let_go()
        held.result()
        assert posting(app, "d")().status_code == 200
        assert texts_of(app) == ["d"]


def test_another_program_writes(app: Flask) -> None:
    """While another program holds SQLite's own lock, writes are 503 and reads work; afterwards all work."""
    with closing(sqlite3.connect(engine_of(app).path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with crew(engine_of(app)) as members:
            futures = [members.submit(posting(app, text)) for text in "abc"]
            assert texts_of(app) == []
            for future in futures:
                assert_come_back(future.result(), 1, "busy with other writes")
        other.execute("ROLLBACK")
    assert posting(app, "d")().status_code == 200
    assert texts_of(app) == ["d"]


@pytest.mark.parametrize("waits", [True, False])
def test_a_full_disk(tmp_path: Path, waits: bool) -> None:
    """When the disk is full, lone and grouped writes are 503 with ten seconds to wait; reads work."""
    with app_with(tmp_path) as app:
        posting(app, "before")()
        engine = engine_of(app)
        with crew(engine) as members, no_longer_files(Path(f"{engine.path}-wal")):
            responses = grouped(members, app, "abc") if waits else [posting(app, "a")()]
            for response in responses:
                assert_come_back(response, 10, "cannot be used at the moment")
            assert texts_of(app) == ["before"]
        assert posting(app, "after")().status_code == 200
        assert texts_of(app) == ["after", "before"]


def test_a_mutation_sees_its_own_request(tmp_path: Path) -> None:
    """Inside a mutation `request`, `g` and `current_app` are those of its own request, also in a group."""
    with app_with(tmp_path) as app, crew(engine_of(app)) as members:
        begin_log(app)
        answers: list[Any] = [response.json for response in grouped(members, app, "abcdefgh")]
        assert [answer[:3] for answer in answers] == [[text, text, "test_app"] for text in "abcdefgh"]
        assert len({writer for *_, writer, _ in answers}) == 1
        assert len({handler for *_, handler in answers}) == 8
        assert texts_of(app) == list("abcdefgh")


def grouped(members: Crew, app: Flask, names: str) -> list[TestResponse]:
    """Return the responses to requests that waited for the writer together."""
    members.hold()
    futures = members.queue_calls(*(posting(app, text) for text in names))
    members.let_go()
    wait(futures)
    return [future.result() for future in futures]
