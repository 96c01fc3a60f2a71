"""Registration of crons: a worker that starts stores the crons of the application's code as rows.

A cron whose schedule has not changed keeps its next tick. The row of a cron that has left the code is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.errors import (
    ArgumentValidationError,
    FunctionCallError,
    FunctionNotFoundError,
    RegistrationError,
)
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.scheduling.crons import Cron
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import CronJob


class CronRegistration:
    """Compares the crons of the code with their rows, and writes the difference.

    Args:
        crons: The application's crons.
        schema: The application's schema.
        functions: The application's functions.
    """

    def __init__(self, crons: Iterable[Cron], schema: Schema, functions: Registry) -> None:
        self._crons = {cron.name: cron for cron in crons}
        self._schema = schema
        self._functions = functions
        self._table = schema.table_for(CronJob)

    def submissions(self) -> dict[str, Submission]:
        """Return the function and the arguments of each cron, by the cron's name.

        Raises:
            RegistrationError: A function does not exist, or its arguments do not match.
        """
        return {name: self._submission(cron) for name, cron in self._crons.items()}

    def is_current(self, snapshot: Snapshot) -> bool:
        """Return whether all rows match the code, so that `register` would write nothing."""
        rows = self._rows(snapshot)
        return {row.name for row in rows} == self._crons.keys() and all(map(self.matches, rows))

    def matches(self, row: CronJob) -> bool:
        """Return whether one row matches the code."""
        cron = self._crons.get(row.name)
        return cron is not None and not self._changes(cron, self._submission(cron), row, 0.0)

    def register(self, transaction: Transaction, times: CreationTimes, now: float) -> None:
        """Bring all rows to the code.

        Raises:
            RegistrationError: See `submissions`.
        """
        submissions = self.submissions()
        rows = {row.name: row for row in self._rows(transaction)}
        for name, row in rows.items():
            if name not in submissions:
                transaction.delete(self._table, row.id)
        for name, submission in submissions.items():
            if name in rows:
                self._update(transaction, now, self._crons[name], submission, rows[name])
            else:
                self._insert(transaction, times, now, self._crons[name], submission)

    def _submission(self, cron: Cron) -> Submission:
        try:
            return Submission.of(self._function(cron.function), self._schema, 0.0, cron.args, cron.kwargs)
        except (FunctionNotFoundError, FunctionCallError, ArgumentValidationError, RegistrationError) as error:
            raise RegistrationError(f"Cron {cron.name!r}: {error}") from None

    def _function(self, function: Function[Any, Any] | str) -> Function[Any, Any]:
        """Return the function that a worker will find by its name."""
        found = self._functions.find(function if isinstance(function, str) else function.name)
        if found is not function and not isinstance(function, str):
            raise RegistrationError(f"{function.name} is another function; add {function.__module__} to functions=")
        return found

    def _insert(
        self, transaction: Transaction, times: CreationTimes, now: float, cron: Cron, submission: Submission
    ) -> None:
        row = CronJob(
            name=cron.name,
            schedule=str(cron.schedule),
            function=submission.name,
            args=msgspec.json.decode(submission.arguments),
            next_tick=cron.schedule.first(now),
        )
        insert(transaction, self._table, row, times)

    def _update(self, transaction: Transaction, now: float, cron: Cron, submission: Submission, row: CronJob) -> None:
        changes = self._changes(cron, submission, row, now)
        if changes:
            stored = {name: self._table.store(name, value) for name, value in changes.items()}
            transaction.update(self._table, row.id, stored)

    def _changes(self, cron: Cron, submission: Submission, row: CronJob, now: float) -> dict[str, Any]:
        schedule, args = str(cron.schedule), msgspec.json.decode(submission.arguments)
        changes: dict[str, Any] = {}
        if row.schedule != schedule:
            changes = {"schedule": schedule, "next_tick": cron.schedule.first(now)}
        if row.function != submission.name or _as_json(row.args) != _as_json(args):
            changes |= {"function": submission.name, "args": args}
        return changes

    def _rows(self, snapshot: Snapshot) -> list[CronJob]:
        return Query(snapshot, self._table, self._table.indexes["by_creation_time"]).collect()


def _as_json(args: dict[str, Any]) -> bytes:
    """Return a form that differs for 1, 1.0 and True, which are equal in Python."""
    return msgspec.json.encode(args, order="deterministic")
