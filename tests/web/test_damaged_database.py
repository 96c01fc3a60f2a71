"""A damaged SQLite file: requests that meet the damage are 503, and the log names the file and the remedy."""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    Document,
    GitHub,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    internal_mutation,
    internal_query,
)
from tests.web.apps import deployed
from tests.webhooks.senders import SECRET, sign_github


class Lamp(Document, table="lamps"):
    """A document."""

    name: str


class Desk(Document, table="desks"):
    """A document of a table that is not damaged."""

    name: str


@internal_mutation
def add(ctx: MutationCtx) -> Id[Lamp]:
    """Store a lamp."""
    return ctx.db.insert(Lamp(name="Desk lamp"))


@internal_mutation
def add_desk(ctx: MutationCtx) -> Id[Desk]:
    """Store a desk."""
    return ctx.db.insert(Desk(name="Desk"))


@internal_query
def lamps(ctx: QueryCtx) -> list[Lamp]:
    """Return all lamps."""
    return ctx.db.query(Lamp).collect()


@contextmanager
def shop(folder: Path) -> Iterator[Flask]:
    """Yield an app on the database of a folder."""
    http = HttpRouter("http", __name__)

    @http.get("/lamps")
    def list_lamps(ctx: ActionCtx, request: Request) -> list[Lamp]:
        return ctx.run_query(lamps)

    @http.post("/lamps")
    def add_lamp(ctx: ActionCtx, request: Request) -> Id[Lamp]:
        return ctx.run_mutation(add)

    @http.post("/desks")
    def post_desk(ctx: ActionCtx, request: Request) -> Id[Desk]:
        return ctx.run_mutation(add_desk)

    @http.webhook("/hook", GitHub(secret=SECRET))
    def on_event(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.run_mutation(add)

    with deployed(folder, http, schema=Schema(Lamp, Desk), functions=[add, add_desk, lamps], is_kept=True) as app:
        yield app


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_requests_that_meet_damage_are_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A query, a mutation and a webhook of a damaged table are 503. Other tables work on."""
    path = tmp_path / "convex.db"
    with shop(tmp_path) as app:
        assert app.test_client().post("/lamps").status_code == 200
    damage(path, "lamps")
    body = json.dumps({"a": 1}).encode()
    signed = {**sign_github(SECRET, body, 0), "X-GitHub-Event": "push", "X-GitHub-Delivery": "1"}
    with shop(tmp_path) as app:
        client = app.test_client()
        requests: list[Callable[[], TestResponse]] = [
            lambda: client.get("/lamps"),
            lambda: client.post("/lamps"),
            lambda: client.post("/hook", data=body, headers=signed),
        ]
        for send in requests:
            caplog.clear()
            response = send()
            assert (response.status_code, "Retry-After" in response.headers) == (503, True)
            assert str(tmp_path) not in response.text and "lamps" not in response.text
            [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
            assert f"{path} is damaged or no database; `flask convex check`" in record.getMessage()
            assert record.exc_info is None
        assert client.post("/desks").status_code == 200
