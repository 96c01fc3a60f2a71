"""Undo commits: the rows that restore their documents, unless later commits have touched the same fields.

A field gets the value that it had before the first of the commits that has changed it. An inserted document is deleted,
and a deleted one is inserted again with its id. A later commit that has changed the same field, or that has inserted or
deleted the document, is a conflict, and nothing is undone. Not if it is undone itself: it and its undo leave nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from flask_convex_http.engines import Row
from flask_convex_http.errors import EngineError, HistoryError, UndoRefusedError, UniqueConstraintError
from flask_convex_http.history.log import RowWrites
from flask_convex_http.history.reader import HistoryReader, LoggedChange
from flask_convex_http.history.rows import Commit
from flask_convex_http.history.values import Values, decode_values, row_of
from flask_convex_http.schema.documents import Table


class UndoStep(NamedTuple):
    """One write of an undo.

    Attributes:
        operation: The kind of write.
        table: The table of the document.
        document_id: Its id.
        values: The values by column.
    """

    operation: Literal["delete", "update", "insert"]
    table: Table[Any]
    document_id: str
    values: Values


def effective_undos(reader: HistoryReader) -> list[Commit]:
    """Return the commits that undo others and are not undone themselves, newest first."""
    undone: set[int] = set()
    found = []
    for undo in reader.undos():
        if undo.number not in undone:
            undone.update(undo.undoes or ())
            found.append(undo)
    return found


def plan_undo(reader: HistoryReader, numbers: Sequence[int], undos: Sequence[Commit]) -> list[UndoStep]:
    """Return the writes that undo commits, in the order in which no unique index is in the way.

    Args:
        reader: Reads the log.
        numbers: The numbers of the commits.
        undos: The effective undos.

    Raises:
        UndoRefusedError: A later commit has touched the same fields, or the log has not all of it.
    """
    chosen = frozenset(numbers)
    changes: dict[str, list[LoggedChange]] = {}
    for change in reader.changes_in(chosen):
        changes.setdefault(change.document_id, []).append(change)
    later: dict[str, list[LoggedChange]] = {document_id: [] for document_id in changes}
    for change in reader.changes_of_documents(changes, min(chosen, default=0)):
        later[change.document_id].append(change)
    steps = []
    for document_id, own in changes.items():
        ignored = chosen | _canceled(undos, own[0].number)
        step = _step(reader, own, [other for other in later[document_id] if other.number not in ignored])
        steps += [step] if step is not None else []
    return sorted(steps, key=lambda step: ("delete", "update", "insert").index(step.operation))


def _canceled(undos: Sequence[Commit], after: int) -> set[int]:
    """Return the numbers of the undos that only undo commits after a commit, and of those commits."""
    return {
        number for undo in undos if undo.undoes and min(undo.undoes) > after for number in (undo.number, *undo.undoes)
    }


def apply_undo(writes: RowWrites, steps: Sequence[UndoStep]) -> None:
    """Write the steps of an undo.

    Raises:
        UndoRefusedError: A document is gone, or a unique index is in the way.
    """
    for step in steps:
        try:
            _apply(writes, step)
        except (UniqueConstraintError, HistoryError) as error:
            raise UndoRefusedError(f"{step.document_id} cannot be as it was: {error}") from error


def _apply(writes: RowWrites, step: UndoStep) -> None:
    if step.operation == "insert":
        writes.insert(step.table, _fitting_row(step))
        return
    if step.operation == "delete":
        found = writes.delete(step.table, step.document_id)
    else:
        found = writes.update(step.table, step.document_id, step.values)
    if not found:
        raise UndoRefusedError(f"{step.document_id} does not exist, although the log has no deletion of it")


def _fitting_row(step: UndoStep) -> Row:
    """Return the row of a deleted document, which its class must still describe."""
    row = row_of(step.table, step.document_id, step.values)
    try:
        step.table.read(row)
    except EngineError as error:
        raise UndoRefusedError(f"{step.document_id} does not fit its class any more: {error}") from error
    return row


def _step(reader: HistoryReader, own: Sequence[LoggedChange], others: Sequence[LoggedChange]) -> UndoStep | None:
    """Return the write that undoes changes of one document; None if there is none to do.

    Args:
        reader: Reads the log.
        own: The changes, in their order.
        others: The changes of the document by other commits, newest first.
    """
    first, last = own[0], own[-1]
    table = _table_of(reader, first)
    try:
        previous = [{} if change.before is None else decode_values(table, change.before) for change in own]
    except HistoryError as error:
        raise UndoRefusedError(str(error)) from error
    _check_conflicts(reader, table, own, previous, others)
    values: Values = {}
    for before in reversed(previous):
        values |= before
    if first.operation == "insert":
        return None if last.operation == "delete" else UndoStep("delete", table, first.document_id, {})
    return UndoStep("insert" if last.operation == "delete" else "update", table, first.document_id, values)


def _table_of(reader: HistoryReader, change: LoggedChange) -> Table[Any]:
    table = reader.schema.likely_table_of(change.document_id)
    if table is None or table.system:
        raise UndoRefusedError(f"No class describes the table {change.table} of {change.document_id} any more")
    if change.operation == "erased":
        raise UndoRefusedError(f"The history of {change.document_id} was erased")
    try:
        reader.check_covered(table, change.number - 1, None)
    except HistoryError as error:
        raise UndoRefusedError(f"Commit {change.number} cannot be undone: {error}") from error
    return table


def _check_conflicts(
    reader: HistoryReader,
    table: Table[Any],
    own: Sequence[LoggedChange],
    previous: Sequence[Values],
    others: Sequence[LoggedChange],
) -> None:
    """Refuse if another commit has touched the same fields after the chosen ones.

    Raises:
        UndoRefusedError: It has. The message names it.
    """
    first_touch: dict[str, int] = {}
    for change, before in zip(own, previous, strict=True):
        for name in table.columns if change.operation != "update" else before:
            first_touch.setdefault(name, change.number)
    for other in others:
        if other.number < own[0].number:
            break
        touched = _touched(table, other)
        names = [name for name in touched if first_touch.get(name, other.number) < other.number]
        if names or other.operation != "update":
            raise UndoRefusedError(_conflict(reader.commit(other.number), other, names))


def _touched(table: Table[Any], change: LoggedChange) -> list[str]:
    if change.operation != "update" or change.before is None:
        return list(table.columns)
    return list(decode_values(table, change.before))


def _conflict(commit: Commit | None, change: LoggedChange, names: Sequence[str]) -> str:
    """Return the sentence that names a later commit."""
    verb = {"insert": "inserted", "delete": "deleted", "erased": "changed"}.get(change.operation, "changed")
    what = f"{', '.join(names)} of {change.document_id}" if verb == "changed" and names else change.document_id
    cause = "" if commit is None else _cause(commit)
    return f"Commit {change.number}{cause} has {verb} {what} since; undo that one first"


def _cause(commit: Commit) -> str:
    if commit.undoes:
        others = len(commit.undoes) - 1
        return f" (an undo of {commit.undoes[0]}{f' and {others} more' if others else ''})"
    parts = [
        commit.function or "",
        f"request {commit.request_id}" if commit.request_id else "",
        f"job {commit.job}" if commit.job else "",
    ]
    return f" ({', '.join(part for part in parts if part)})" if any(parts) else ""
