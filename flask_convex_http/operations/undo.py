"""Undo the changes of a commit, a request or a webhook delivery, as one mutation.

The documents get their previous values back. What else it did stays: scheduled jobs, stored files and calls to other
services. A delivery keeps its row in the inbox, so that a later duplicate runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from flask_convex_http.engines import Transaction
from flask_convex_http.errors import UndoRefusedError
from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.history.rows import Commit
from flask_convex_http.history.undo import UndoStep, apply_undo, effective_undos, plan_undo
from flask_convex_http.runtime import Caller, MutationCalls, Runtime
from flask_convex_http.runtime.dry_run import dry_run
from flask_convex_http.runtime.recording import RecordedChange
from flask_convex_http.runtime.row_changes import RowChange, row_change

#: Returns the ids of the deliveries with a sender's id of an event.
FindDeliveries = Callable[[str], Sequence[str]]
#: Marks a delivery as undone, and returns whether it was done before.
MarkUndone = Callable[[Transaction, str, float], bool]


class UndoReport(msgspec.Struct, frozen=True):
    """The changes of an undo, made or only shown.

    Attributes:
        commits: The numbers of the commits that are undone, oldest first.
        rows: The rows that change.
        deliveries: The deliveries that are marked as undone.
    """

    commits: list[int]
    rows: list[RowChange]
    deliveries: list[str]


class Undo:
    """Undoes commits.

    Args:
        runtime: Runs the mutation.
        find_deliveries: Finds deliveries by the sender's id.
        mark_undone: Marks a delivery.
    """

    def __init__(self, runtime: Runtime, find_deliveries: FindDeliveries, mark_undone: MarkUndone) -> None:
        self._runtime = runtime
        self._find_deliveries = find_deliveries
        self._mark_undone = mark_undone

    def run(self, what: str, *, only_show: bool = False, caller: Caller | None = None) -> UndoReport:
        """Undo a commit, a request or a delivery.

        Args:
            what: The number of a commit, the id of a request, or the id of a delivery or of its event.
            only_show: Roll back at the end.
            caller: Who undoes it, for the commit log.

        Raises:
            UndoRefusedError: A later commit has touched the same fields, or the log has not all of it.
        """
        deliveries = frozenset(self._find_deliveries(what))

        def body(calls: MutationCalls) -> UndoReport:
            return self._undo(calls, what, deliveries)

        if only_show:
            report: UndoReport = dry_run(self._runtime, body).result
            return report
        return self._runtime.write(body, caller or self._runtime.caller(), label="undo")

    def _undo(self, calls: MutationCalls, what: str, deliveries: frozenset[str]) -> UndoReport:
        reader = HistoryReader(calls.transaction, self._runtime.schema)
        undos = effective_undos(reader)
        commits = _commits(reader, what, deliveries, undos)
        numbers = [commit.number for commit in commits]
        steps = plan_undo(reader, numbers, undos)
        if calls.log is not None:
            calls.log.cause.undoes = numbers
        rows = [change for change in self._changes(calls, steps) if change.fields or change.verb != "changed"]
        marked = {commit.delivery: None for commit in commits if commit.delivery is not None}
        return UndoReport(
            numbers, rows, [each for each in marked if self._mark_undone(calls.transaction, each, calls.now)]
        )

    def _changes(self, calls: MutationCalls, steps: Sequence[UndoStep]) -> list[RowChange]:
        """Write the steps, and return their changes."""
        transaction = calls.transaction
        before = [transaction.get(step.table, step.document_id) for step in steps]
        apply_undo(calls.writes(), steps)
        after = [transaction.get(step.table, step.document_id) for step in steps]
        return [
            row_change(RecordedChange(step.table, step.document_id, old, new))
            for step, old, new in zip(steps, before, after, strict=True)
        ]


def _commits(reader: HistoryReader, what: str, deliveries: frozenset[str], undos: Sequence[Commit]) -> list[Commit]:
    """Return the commits that a name stands for and that are not undone, oldest first.

    Raises:
        UndoRefusedError: There is none.
    """
    is_number = what.isascii() and what.isdigit() and len(what) <= 15
    numbered = reader.commit(int(what)) if is_number else None
    named = [numbered] if numbered else reader.commits_named(deliveries | {what})
    undone = {number for undo in undos for number in undo.undoes or ()}
    found = [commit for commit in named if commit.number not in undone]
    if not found:
        why = "is undone already" if named else "is not in the log; `flask convex log` lists the commits"
        raise UndoRefusedError(f"{what} {why}")
    return found[::-1]
