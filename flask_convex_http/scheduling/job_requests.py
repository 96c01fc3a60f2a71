"""Requests of operators to workers: cancel, pause or resume jobs while another write holds the database.

A worker honors the requests before it starts the next job. On SQLite they are files beside the database, since a
mutation that runs holds the write lock. On PostgreSQL they are rows of `_settings`, which no mutation locks.

The request to pause all jobs stays until it is withdrawn. All others are removed when they are honored.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Literal

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.log import logger_of
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.index_ranges import between
from flask_convex_http.schema.system_tables import Setting

logger = logger_of("jobs")

_KEY = "job-request:"
RequestKind = Literal["cancel", "cancel_all", "pause", "pause_all", "resume"]


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request.

    Attributes:
        kind: What to do. "cancel_all" cancels the pending jobs that exist at the time of the request.
        time: The time of the request, in milliseconds since the epoch.
        job: The id of the job; empty for all jobs.
        function: With "cancel_all": only jobs of this function.
    """

    kind: RequestKind
    time: float
    job: str = ""
    function: str | None = None


class JobRequests:
    """The requests of a deployment.

    Args:
        engine: The database.
        schema: The application's schema.
    """

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._mailbox = engine.mailbox
        self._table = schema.table_for(Setting)

    def add(self, requests: Iterable[JobRequest]) -> None:
        """Record requests durably, without a wait for other writes, and wake the workers.

        Raises:
            EngineError: The disk cannot be written to.
        """
        texts = [msgspec.json.encode(request).decode() for request in requests]
        if self._mailbox is not None:
            for text in texts:
                self._mailbox.add(text)
        else:
            self._engine.write(lambda transaction: self._insert(transaction, texts))
        self._engine.notifications.notify()

    def read(self, snapshot: Snapshot) -> dict[str, JobRequest]:
        """Return the requests by their names, oldest first."""
        if self._mailbox is not None:
            return self.read_files()
        start = Query(snapshot, self._table, self._table.indexes["by_creation_time"])
        rows = start.with_index("by_key", key=between(_KEY, _KEY + "~")).collect()
        return _parsed({row.key: row.value for row in rows})

    def read_files(self) -> dict[str, JobRequest]:
        """Return the requests that are files, also those that came while the caller waited for the write lock."""
        return {} if self._mailbox is None else _parsed(self._mailbox.read())

    def remove(self, names: Iterable[str]) -> None:
        """Remove requests that are honored or withdrawn."""
        names = list(names)
        if self._mailbox is not None:
            for name in names:
                self._mailbox.remove(name)
        elif names:
            self._engine.write(lambda transaction: self._delete(transaction, names))

    def _insert(self, transaction: Transaction, texts: list[str]) -> None:
        for text in texts:
            time = msgspec.json.decode(text, type=JobRequest).time
            row = Setting(key=f"{_KEY}{time:020.3f}-{secrets.token_hex(4)}", value=text)
            insert(transaction, self._table, row, CreationTimes(time))

    def _delete(self, transaction: Transaction, names: list[str]) -> None:
        start = Query(transaction, self._table, self._table.indexes["by_creation_time"])
        for name in names:
            for row in start.with_index("by_key", key=name):
                transaction.delete(self._table, row.id)


def is_paused(requests: dict[str, JobRequest]) -> bool:
    """Return whether all jobs are paused."""
    return any(request.kind == "pause_all" for request in requests.values())


def _parsed(texts: dict[str, str]) -> dict[str, JobRequest]:
    found = {}
    for name, text in texts.items():
        try:
            found[name] = msgspec.json.decode(text, type=JobRequest)
        except msgspec.DecodeError as error:  # it was edited by hand
            logger.error("The request %s to the workers cannot be read: %s", name, error)
    return found
