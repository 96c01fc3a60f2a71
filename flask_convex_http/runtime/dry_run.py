"""Run a mutation without effects: its transaction is recorded and rolled back, and its commit hooks do not run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from flask_convex_http.engines import Transaction
from flask_convex_http.errors import MutationInterruptedError
from flask_convex_http.runtime.caller import Caller
from flask_convex_http.runtime.calls import MutationCalls
from flask_convex_http.runtime.commit_hooks import CommitHooks
from flask_convex_http.runtime.recording import RecordingTransaction
from flask_convex_http.runtime.row_changes import RowChange, SystemChange, row_change, system_change
from flask_convex_http.runtime.runtime import Runtime
from flask_convex_http.runtime.time_limit import TimeLimit


class DryRun(msgspec.Struct, frozen=True):
    """The changes that a transaction would make.

    Attributes:
        result: The value that the body returned.
        rows: The rows of the application that would change, in the order in which they were first written.
        system: The changes in the package's own tables.
    """

    result: Any
    rows: list[RowChange]
    system: list[SystemChange]


class _RollBackError(Exception):
    """The dry run is complete, and its transaction must not commit."""


def dry_run(runtime: Runtime, body: Callable[[MutationCalls], Any], caller: Caller | None = None) -> DryRun:
    """Call a Python function in a transaction, roll it back, and return the changes.

    Args:
        runtime: Runs functions.
        body: Called with the calls of the transaction. The changes are known only if it returns.
        caller: The caller that functions see; an anonymous one if not given.

    Raises:
        Exception: The exception that the body raises.
    """
    runs: list[DryRun] = []

    def work(transaction: Transaction) -> None:
        limit = TimeLimit(runtime.mutation_timeout, "A dry run", transaction.interrupt)
        try:
            with limit:
                runs.append(_record(runtime, transaction, body, caller or runtime.caller()))
        except MutationInterruptedError as error:  # it was raised just before the end of the block
            raise limit.settle() from error
        raise _RollBackError

    with suppress(_RollBackError):
        runtime.engine.write(work)
    return runs[-1]  # the engine may have retried the work


def _record(runtime: Runtime, transaction: Transaction, body: Callable[[MutationCalls], Any], caller: Caller) -> DryRun:
    now, recording = runtime.clock(), RecordingTransaction(transaction)
    runtime.times.begin(now)
    db = runtime.writer(recording, runtime.times)
    result = body(MutationCalls(runtime, recording, now, caller, recording, db, CommitHooks()))
    changes = list(recording.changes())
    rows = [row_change(change) for change in changes if not change.table.system]
    return DryRun(result, rows, [system_change(change) for change in changes if change.table.system])
