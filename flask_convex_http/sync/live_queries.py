"""Run the live queries of all clients of a process, and run them again when their results may have changed.

One thread works in rounds. A round opens a snapshot, reads in it which rows have changed since the last round, and runs
in it the queries that have read such rows, and those that clients have added. So all results are as of one commit.

Nothing here knows connections. Submissions enter (`submit`), and rounds leave (`deliver`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from flask_convex_http.engines import Engine, Snapshot
from flask_convex_http.errors import MigrationRequiredError
from flask_convex_http.log import logger_of
from flask_convex_http.sync.positions import ChangeReader, Position
from flask_convex_http.sync.submissions import Call, Ran, Round, Submission, Update
from flask_convex_http.sync.subscriptions import LiveQuery, Statistics, Subscriptions

logger = logger_of("live")

#: Seconds between two looks for the commits of other processes: where a look costs nothing, and where it is a query.
_LOCAL_POLL, _REMOTE_POLL = 0.01, 0.05
#: Seconds between two runs of a query that has read tables without a commit log.
_UNLOGGED_PERIOD = 1.0
#: Seconds until a round that has failed is tried again.
_RETRY_SECONDS, _LONGEST_RETRY = 0.1, 5.0

#: Runs a query in a snapshot. An exception is a failure of the database, and the round is tried again.
RunQuery = Callable[[Snapshot, Call, Any, str | None], Ran]


class LiveQueries:
    """The live queries of a process.

    Args:
        engine: The database.
        changes: Reads the changed rows. None if the deployment keeps no commit log: then every commit runs all.
        run: Runs a query.
        context: Returns the context that queries run in, such as Flask's application context.
        deliver: Called with each round, in the thread of this class.
    """

    def __init__(
        self,
        engine: Engine,
        changes: ChangeReader | None,
        run: RunQuery,
        context: Callable[[], AbstractContextManager[Any]],
        deliver: Callable[[Round], None],
    ) -> None:
        self._engine = engine
        self._changes = changes
        self._run_query = run
        self._context = context
        self._deliver = deliver
        self._subscriptions = Subscriptions()
        self._submitted: list[Submission] = []
        self._pending: list[Submission] = []
        self._updates: dict[Any, Update] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._position: Position | None = None
        self._version: object = None
        self._next_unlogged = 0.0
        self._has_unlogged_news = False
        self._commit = 0

    @property
    def statistics(self) -> Statistics:
        """The counts of runs."""
        return self._subscriptions.statistics

    def __len__(self) -> int:
        """Return the number of queries that clients subscribe to."""
        return len(self._subscriptions)

    # --- called in other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="convex-live-queries", daemon=True)
        self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Add a submission for the next round. Thread-safe."""
        self._submitted.append(submission)
        self._wake.set()

    def stop(self) -> None:
        """Stop the thread after the present round, and wait for it."""
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5.0)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._is_stopping:
            self._wake.wait(self._pause())
            self._wake.clear()
            self._drain()
            try:
                if self._pending or self._subscriptions.has_stale or self._has_news():
                    self._run_round()
                failures = 0
            except Exception as error:
                failures += 1
                _log(error)
                time.sleep(min(_RETRY_SECONDS * 2**failures, _LONGEST_RETRY))
                self._wake.set()

    def _pause(self) -> float | None:
        if not self._subscriptions:
            return None
        return _REMOTE_POLL if self._version is None else _LOCAL_POLL

    def _drain(self) -> None:
        count = len(self._submitted)
        self._pending += self._submitted[:count]
        del self._submitted[:count]  # others may have been added behind them

    def _has_news(self) -> bool:
        if not self._subscriptions:
            return False
        if self._has_unlogged_news and time.monotonic() >= self._next_unlogged:
            return True
        version = self._engine.version()
        if version is None and self._changes is not None and self._is_settled(self._changes):
            return bool(self._subscriptions.unlogged) and time.monotonic() >= self._next_unlogged
        return version is None or version != self._version

    def _is_settled(self, changes: ChangeReader) -> bool:
        """Return whether no commit has ended since the last round, which takes two short reads on PostgreSQL."""
        settled = changes.settled()
        return settled is not None and self._position is not None and settled == self._position.settled

    def _run_round(self) -> None:
        version = self._engine.version()
        is_changed = version is None or version != self._version
        settled = None if self._changes is None else self._changes.settled()
        with self._engine.snapshot() as snapshot, self._context():
            commit = self._advance(snapshot, settled, is_changed=is_changed)
            self._apply_submissions()
            self._subscriptions.run_stale(partial(self._run_query, snapshot))
        self._version = version
        updates, self._updates = self._updates, {}
        for client, query_id, outcome in self._subscriptions.take_news():
            updates.setdefault(client, Update()).results[query_id] = outcome
        if updates:
            self._deliver(Round(commit, updates))

    def _apply_submissions(self) -> None:
        """Apply each submission once, even if the round fails afterwards."""
        pending, self._pending = self._pending, []
        for submission in pending:
            self._subscriptions.apply(submission)
            if submission.is_end:
                self._updates.pop(submission.client, None)
            else:
                self._updates.setdefault(submission.client, Update()).tokens.append(submission.token)

    # --- changed rows ------------------------------------------------------------------------------------------------

    def _advance(self, snapshot: Snapshot, settled: int | None, *, is_changed: bool) -> int:
        """Mark the queries that must run again, and return the newest commit of a snapshot."""
        subscriptions = self._subscriptions
        if self._changes is None:
            if is_changed:
                subscriptions.mark_stale(subscriptions.queries())
            self._commit = max(self._commit, time.time_ns() // 1_000_000)
            return self._commit
        self._mark_unlogged(is_changed=is_changed)
        known, new = self._position, self._changes.position(snapshot, settled)
        if known is not None and known != new:
            subscriptions.mark_stale(self._concerned(snapshot, known, new))
        self._position = new
        return new.newest

    def _mark_unlogged(self, *, is_changed: bool) -> None:
        """After a commit, mark the queries that have read tables without a log, at most once in an interval."""
        self._has_unlogged_news |= is_changed and bool(self._subscriptions.unlogged)
        if self._has_unlogged_news and time.monotonic() >= self._next_unlogged:
            self._has_unlogged_news = False
            self._next_unlogged = time.monotonic() + _UNLOGGED_PERIOD
            self._subscriptions.mark_stale(self._subscriptions.unlogged)

    def _concerned(self, snapshot: Snapshot, known: Position, new: Position) -> Iterable[LiveQuery]:
        assert self._changes is not None
        index = self._subscriptions.index
        rows = self._changes.between(snapshot, known, new, index.watches)
        if rows is None:
            return self._subscriptions.queries()
        found: set[LiveQuery] = set()
        for row in rows:
            found |= index.concerned(*row)
        return found


def _log(error: Exception) -> None:
    if isinstance(error, MigrationRequiredError):
        logger.warning("Live queries wait for the migration of the database: %s", error)
    else:
        logger.exception("Live queries could not be run, and are tried again")
