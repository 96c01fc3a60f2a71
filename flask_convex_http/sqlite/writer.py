"""The writer of a SQLite file: one write at a time, in a fair order, and many writes in one commit.

A thread that finds the writer idle writes at once, by itself. Concurrent writes join a queue, and the writer's own
thread takes over. It runs the queued writes one after another on one connection, each under a savepoint, and one commit
syncs them all (group commit). No caller gets its result before that. A lone write never waits. After a batch its
members get a moment to return before the next batch begins (`commit_delay`).

Among processes, a fair lock beside the file (`process_lock`) is acquired before SQLite's own. Number and time of
waiting writes are limited, and exceeding a limit is an `OverloadedError`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from flask_convex_http.errors import ConvexHTTPError, EngineError, FunctionCallError, OverloadedError
from flask_convex_http.log import logger_of
from flask_convex_http.sqlite.checkpoints import Checkpoints
from flask_convex_http.sqlite.commit_delay import CommitDelay
from flask_convex_http.sqlite.connections import Connections, sqlite3, this_process
from flask_convex_http.sqlite.group_members import GroupMembers, check_transaction
from flask_convex_http.sqlite.process_lock import ProcessLock
from flask_convex_http.sqlite.waiting_writes import WaitingWrite, Work, answer, refuse
from flask_convex_http.telemetry import GroupCommitted, Telemetry

logger = logger_of("database")

T = TypeVar("T")

#: Seconds after which a batch accepts no more writes, since its members wait for the last one.
_BATCH_SECONDS = 0.01
#: Commits between two checks of the log's length. A check takes a tenth of the time of a small commit. After a
#: checkpoint each commit checks, until the log has restarted.
_LOOK_EVERY = 8
#: Seconds for which the idle writer thread stays alive.
_LINGER_SECONDS = 1.0


class Writer:
    """The writer of one process to one file.

    Args:
        path: The database file.
        connections: Provides the connections.
        translate: Returns the package's error for an error of the driver.
        timeout: Seconds for which a write waits to start.
        depth: The largest number of waiting writes.
        telemetry: Receives an event for each group commit.
    """

    def __init__(
        self,
        path: Path,
        connections: Connections,
        translate: Callable[[Exception], ConvexHTTPError],
        *,
        timeout: float,
        depth: int,
        telemetry: Telemetry,
    ) -> None:
        self.pid = this_process()
        self._connections = connections
        self._translate = translate
        self._timeout = timeout
        self._depth = depth
        self._telemetry = telemetry
        self._lock = ProcessLock(path)
        self._checkpoints = Checkpoints(path)
        self._mutex = threading.Lock()
        self._queue: deque[WaitingWrite] = deque()
        self._is_taken = False  # held by the thread that writes, which alone releases it
        self._thread: threading.Thread | None = None
        self._calls = threading.Semaphore(0)
        self._commits = 0
        self._members = GroupMembers(self._execute, self._roll_back)
        self._gathering = CommitDelay(self._queue, self._mutex)
        self._commit_seconds = 0.0
        self._here = threading.local()

    def run(self, work: Work[T], *, alone: bool = False, timeout: float | None = None) -> T:
        """Run work on a connection in a transaction, commit it, and return its result.

        Args:
            work: Gets the connection. It may be retried from its start, in another thread with this one's context.
            alone: Whether the work gets the connection for itself and makes its transactions itself.
            timeout: Seconds for which it waits to start, if shorter than the writer's timeout.

        Raises:
            OverloadedError: It waited too long, or too many writes wait. Nothing was done.
            EngineError: The commit failed.
            Exception: Any exception of the work. Nothing of it is written.
        """
        if getattr(self._here, "is_writing", False):
            raise FunctionCallError(
                "A mutation was started inside a mutation, where it would wait for itself; use ctx.run_mutation there"
            )
        write = self._enter(work, alone=alone)
        if write is not None:
            return cast(T, self._wait(write, timeout))
        try:
            if self._lock.try_acquire():
                return self._write_here(work, alone=alone)
            write = WaitingWrite(work, alone=alone)  # another process writes
            with self._mutex:
                self._queue.appendleft(write)
        finally:
            self._pass_on()
        return cast(T, self._wait(write, timeout))

    def oldest_wait(self) -> float:
        """Return the seconds for which the oldest waiting write of this process has waited, or 0."""
        with self._mutex:
            return time.monotonic() - self._queue[0].since if self._queue else 0.0

    def renew_lock(self) -> None:
        """Reopen the files of the lock for the next write, since they may have been replaced too."""
        self._lock.renew()

    def close(self) -> None:
        """Close the files of the lock, unless a write is running."""
        with self._mutex:
            if not self._is_taken:
                self._lock.close()

    # --- whose turn it is --------------------------------------------------------------------------------------------

    def _enter(self, work: Work[Any], *, alone: bool) -> WaitingWrite | None:
        """Acquire the writer, or join the queue."""
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                return None
            if len(self._queue) >= self._depth:
                raise OverloadedError("Too many writes wait for the database; try again in a moment")
            write = WaitingWrite(work, alone=alone)
            self._queue.append(write)
            self._gathering.note_arrival()
            return write

    def _pass_on(self) -> None:
        """Hand the writer over to its thread if writes are queued."""
        if self.pid != this_process():  # the work called fork(), and this is the child: the writer is the parent's
            return
        with self._mutex:
            if not self._queue:
                self._is_taken = False
            elif self._thread is not None:
                self._calls.release()
            else:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="convex-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: the next write tries again, and queued ones time out
            logger.exception("The writer's thread could not be started")
            self._is_taken = False
            refuse(self._empty_queue(), OverloadedError("No thread is left to write with; try again in a moment"))
        else:
            self._thread = thread

    def _wait(self, write: WaitingWrite, timeout: float | None) -> Any:
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        try:
            while not write.done.acquire(timeout=seconds):
                if self._withdraw(write):  # otherwise it has started, and may only be retried
                    raise OverloadedError("The database is busy with other writes; try again in a moment")
        except BaseException:  # Ctrl-C, for example
            self._withdraw(write)
            raise
        if write.error is not None:
            raise write.error
        return write.result

    def _withdraw(self, write: WaitingWrite) -> bool:
        """Remove a write from the queue, and return whether it was still there."""
        with self._mutex:
            is_there = write in self._queue
            if is_there:
                self._queue.remove(write)
            return is_there

    # --- writes in this thread ----------------------------------------------------------------------------------------

    def _write_here(self, work: Work[T], *, alone: bool) -> T:
        """Write in this thread, which holds the writer and the lock."""
        self._here.is_writing = True
        try:
            process = self._connections.process
            connection = self._connections.take(process)
            try:  # lend() and a with statement would take longer
                self._check_files(connection)
                result = work(connection) if alone else self._commit_one(work, connection)
                self._check_files(connection)
                self._checkpoint_if_due(connection, look=alone)
                return result
            finally:
                self._connections.give(process, connection)
        finally:
            self._here.is_writing = False
            if self.pid == this_process():
                self._lock.release()

    def _commit_one(self, work: Work[T], connection: Any) -> T:
        self._begin(connection)
        try:
            result = work(connection)
            if self.pid == this_process():
                check_transaction(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        if self.pid == this_process():
            self._commit(connection)
        return result

    # --- writing for all that wait -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Write queued writes as long as the writer belongs to this thread; the thread's main function."""
        self._here.is_writing = True
        while True:
            while self._has_next():
                self._gathering.wait(self._write_batch(), self._commit_seconds)
            if not self._calls.acquire(timeout=_LINGER_SECONDS) and self._ends():
                return

    def _has_next(self) -> bool:
        with self._mutex:
            self._is_taken = bool(self._queue)
            return self._is_taken

    def _ends(self) -> bool:
        with self._mutex:
            if self._calls.acquire(blocking=False):  # a write was queued after the thread had stopped
                return False
            self._thread = None
            return True

    def _write_batch(self) -> int:
        """Write the queued writes, and return their number."""
        batch: list[WaitingWrite] = []
        count = 0
        try:
            self._lock.acquire()
            try:
                count = self._write_next(batch)
            finally:
                self._lock.release()
        except Exception as error:  # the file cannot be opened, or the commit failed
            with self._mutex:
                refused = batch or self._empty_queue()
            refuse(refused, error if isinstance(error, ConvexHTTPError) else EngineError(f"Writing failed: {error!r}"))
        answer(batch)
        return count

    def _write_next(self, batch: list[WaitingWrite]) -> int:
        """Write the queued writes, and return their number. The batch has the writes without a result."""
        with self._connections.lend() as connection:
            self._check_files(connection)
            alone = self._next(alone=True)
            if alone is not None:
                self._run(alone, alone.work, connection, batch)
            else:
                self._write_group(connection, batch)
            count = len(batch)
            self._check_files(connection)
            self._checkpoint_if_due(connection, batch, look=alone is not None)
        return count

    def _write_group(self, connection: Any, batch: list[WaitingWrite]) -> None:
        try:
            self._begin(connection)
        except OverloadedError:  # another program writes: each write waits on, within its own timeout
            return
        self._run_group(connection, batch)
        if not connection.in_transaction:  # such as after a full disk: the last write fails, the others are retried
            connection.late_rows.clear()
            with self._mutex:
                self._queue.extendleft(reversed(batch[:-1]))
            del batch[:-1]
            return
        began = time.monotonic()
        self._commit(connection, len(batch))
        self._commit_seconds = time.monotonic() - began

    def _run_group(self, connection: Any, batch: list[WaitingWrite]) -> None:
        """Run the queued writes in order."""
        end = time.monotonic() + _BATCH_SECONDS
        while time.monotonic() < end and (write := self._next(alone=False)) is not None:
            work = partial(self._members.run if batch else self._members.run_first, write.work)
            self._run(write, work, connection, batch)
            if not connection.in_transaction:
                return

    def _next(self, *, alone: bool) -> WaitingWrite | None:
        with self._mutex:
            if self._queue and self._queue[0].alone == alone:
                return self._queue.popleft()
            return None

    def _run(self, write: WaitingWrite, work: Work[Any], connection: Any, batch: list[WaitingWrite]) -> None:
        """Run one queued write. Its error is raised after the commit, since it may depend on the other writes."""
        batch.append(write)
        write.error = None
        try:
            write.result = write.context.run(work, connection)
        except BaseException as error:
            write.error = error
        if self.pid != this_process():  # the work called fork(): its child has no caller to return to
            os._exit(1)

    def _empty_queue(self) -> list[WaitingWrite]:
        """Take all writes from the queue. The caller holds the mutex."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    # --- the connection ----------------------------------------------------------------------------------------------

    def _check_files(self, connection: Any) -> None:
        """Refuse a write, or do not acknowledge a commit, if the open files are not those at the path."""
        if not self._connections.process.is_in_place(connection) and self.pid == this_process():
            raise self._connections.replaced(connection)

    def _begin(self, connection: Any) -> None:
        connection.late_rows.clear()  # Ctrl-C right after a COMMIT may have left them
        self._execute("BEGIN IMMEDIATE", connection)

    def _execute(self, statement: str, connection: Any) -> None:
        try:
            connection.execute(statement)
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _commit(self, connection: Any, size: int = 1) -> None:
        began = time.perf_counter() if self._telemetry.is_on else 0.0
        try:
            if connection.late_rows.waits:
                self._write_late_rows(connection)
            self._execute("COMMIT", connection)
        except BaseException:
            self._roll_back(connection)
            raise
        connection.late_rows.clear()
        if self._telemetry.is_on:
            self._telemetry.publish(GroupCommitted(size, time.perf_counter() - began))

    def _write_late_rows(self, connection: Any) -> None:
        try:
            connection.late_rows.write(connection)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        check_transaction(connection)

    def _roll_back(self, connection: Any) -> None:
        connection.late_rows.clear()
        if self.pid == this_process() and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the pool keeps no connection with an open transaction
                connection.execute("ROLLBACK")

    def _checkpoint_if_due(self, connection: Any, batch: list[WaitingWrite] | None = None, *, look: bool) -> None:
        """Make a checkpoint if one is due, after the batch has its results: the commits are safe."""
        self._commits += 1
        if self._commits % _LOOK_EVERY and not (look or self._checkpoints.await_restart):
            return
        if self.pid != this_process() or self._connections.process.is_paused:
            return
        try:
            if self._checkpoints.are_due():
                answer(batch or [])
                with self._connections.lend() as other:
                    self._checkpoints.make(connection, other)
        except Exception:
            logger.exception("A checkpoint failed; what was written is safe in the write-ahead log")
