"""The secret of a deployment, from which the keys of API keys and signed URLs are derived."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import MigrationRequiredError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import Setting

_KEY = "secret"


class DeploymentSecret:
    """The secret of the settings, or else a random one that the first migration stores.

    Args:
        configured: The secret of the settings, or None.
        engine: The database.
        schema: All tables.
        clock: Returns the current time in milliseconds since the epoch.
    """

    def __init__(self, configured: str | None, engine: Engine, schema: Schema, clock: Callable[[], float]) -> None:
        self._configured = configured
        self._engine = engine
        self._table = schema.table_for(Setting)
        self._clock = clock

    def load(self) -> str:
        """Return the secret.

        Raises:
            MigrationRequiredError: The settings have none, and no migration has stored one.
        """
        if self._configured is not None:
            return self._configured
        with self._engine.snapshot() as snapshot:
            stored = self._stored(snapshot)
        if stored is None:
            raise MigrationRequiredError(
                "The deployment has no secret yet; run `flask convex migrate` or set CONVEX_SECRET"
            )
        return stored.value

    def create(self) -> None:
        """Store a random secret, unless there is one or the settings have one."""
        if self._configured is None:
            self._engine.write(self._create_in)

    def _create_in(self, transaction: Transaction) -> None:
        if self._stored(transaction) is None:
            secret = Setting(key=_KEY, value=secrets.token_urlsafe(32))
            insert(transaction, self._table, secret, CreationTimes(self._clock()))

    def _stored(self, snapshot: Snapshot) -> Setting | None:
        start = Query(snapshot, self._table, self._table.indexes["by_creation_time"])
        return start.with_index("by_key", key=_KEY).unique()
