"""What `ctx.once` has to do with: other services, databases that are busy or slow, and its rows."""

import threading
from collections.abc import Callable
from typing import Any

from flask_convex_http import Schema
from flask_convex_http.backend import Backend
from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.once import LOST_AFTER
from flask_convex_http.schema.system_tables import OnceCall

SCHEMA = Schema()


class Boom(Exception):
    """What the calls here fail with."""


class Service:
    """Another service: it remembers the tokens it was called with, and fails while it is told to."""

    def __init__(self, answer: Any = None) -> None:
        self.tokens: list[str] = []
        self.answer = answer
        self.is_down = False

    def __call__(self, token: str) -> Any:
        self.tokens.append(token)
        if self.is_down:
            raise Boom
        return self.answer


class SlowService(Service):
    """One whose call takes until it is told to end."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__(answer)
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self, token: str) -> Any:
        self.begun.set()
        assert self.end.wait(30)
        return super().__call__(token)


class BusyEngine:
    """An engine whose next writes fail, as often as it is told."""

    def __init__(self, engine: Engine, error: type[Exception]) -> None:
        self._engine = engine
        self._error = error
        self.fails = 0

    def write(self, work: Callable[[Transaction], Any], **options: Any) -> Any:
        if self.fails:
            self.fails -= 1
            raise self._error("not now")
        return self._engine.write(work, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class LateEngine:
    """An engine on which something happens right after a row was looked for."""

    def __init__(self, engine: Engine, meanwhile: Callable[[], object]) -> None:
        self._engine = engine
        self._meanwhile = meanwhile

    def lookup(self, table: Any, values: Any, **options: Any) -> Any:
        row = self._engine.lookup(table, values, **options)
        self._meanwhile()
        return row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def rows(backend: Backend) -> list[OnceCall]:
    table = backend.schema.table_for(OnceCall)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


def begin(backend: Backend, key: str, owner: str) -> None:
    """Leave behind what a process leaves that dies in the midst of a call."""

    def work(transaction: Transaction) -> None:
        now = backend.clock()
        row = OnceCall(key=key, state="started", owner=owner, started=now, expires=now + LOST_AFTER)
        insert(transaction, backend.schema.table_for(OnceCall), row, CreationTimes(now))

    backend.engine.write(work)
