"""Helpers for tests of `ctx.once`: other services, busy or slow databases, and the rows of calls."""

import threading
from collections.abc import Callable
from typing import Any

from flask_convex_http import Schema
from flask_convex_http.backend import Backend
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Transaction
from flask_convex_http.once import LOST_AFTER
from flask_convex_http.schema.system_tables import OnceCall

SCHEMA = Schema()


class Boom(Exception):
    """An error of the calls in this module."""


class Service:
    """A service that records the tokens of its calls, and fails while `is_down`."""

    def __init__(self, result: Any = None) -> None:
        self.tokens: list[str] = []
        self.result = result
        self.is_down = False

    def __call__(self, token: str) -> Any:
        self.tokens.append(token)
        if self.is_down:
            raise Boom
        return self.result


class SlowService(Service):
    """A service whose call blocks until `end` is set."""

    def __init__(self, result: Any = None) -> None:
        super().__init__(result)
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self, token: str) -> Any:
        self.begun.set()
        assert self.end.wait(30)
        return super().__call__(token)


class BusyEngine:
    """An engine whose next `fails` writes fail."""

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


class HookedEngine:
    """An engine that calls a function after each lookup."""

    def __init__(self, engine: Engine, hook: Callable[[], object]) -> None:
        self._engine = engine
        self._hook = hook

    def lookup(self, table: Any, values: Any, **options: Any) -> Any:
        row = self._engine.lookup(table, values, **options)
        self._hook()
        return row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def rows(backend: Backend) -> list[OnceCall]:
    table = backend.schema.table_for(OnceCall)
    with backend.engine.snapshot() as snapshot:
        return Query(snapshot, table, table.indexes["by_creation_time"]).collect()


def insert_started_call(backend: Backend, key: str, owner: str) -> None:
    """Insert the row that a process leaves when it dies during a call."""

    def work(transaction: Transaction) -> None:
        now = backend.clock()
        row = OnceCall(key=key, state="started", owner=owner, started=now, expires=now + LOST_AFTER)
        insert(transaction, backend.schema.table_for(OnceCall), row, CreationTimes(now))

    backend.engine.write(work)
