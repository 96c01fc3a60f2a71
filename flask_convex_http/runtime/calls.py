"""The calls behind a ctx: running functions, scheduling, files and rate limits.

The three classes also decide which kind of function may run which. A query runs queries on its own snapshot. A mutation
runs queries and mutations as parts of its transaction. An action runs queries on new snapshots, mutations in new
transactions, and other actions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from flask_convex_http.credentials import ApiKeyReader, ApiKeyWriter, TokenReader, TokenWriter
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.db import DatabaseWriter
from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.functions.function import Function
from flask_convex_http.history.log import CommitLog, LoggedWrites, RowWrites
from flask_convex_http.ids import new_id
from flask_convex_http.rate_limits import Limit
from flask_convex_http.runtime.auth import Auth
from flask_convex_http.runtime.caller import Caller, RunningJob
from flask_convex_http.runtime.commit_hooks import CommitHooks
from flask_convex_http.runtime.context import ActionCtx, MutationCtx, QueryCtx
from flask_convex_http.runtime.time_limit import TimeLimit
from flask_convex_http.scheduling import Scheduler
from flask_convex_http.scheduling.job_writer import JobWriter
from flask_convex_http.storage.storage import StorageActions, StorageReader, StorageWriter

if TYPE_CHECKING:
    from flask_convex_http.runtime.runtime import AnyFunction, AppContext, Args, Kwargs, Runtime

T = TypeVar("T")


class QueryCalls(msgspec.Struct, eq=False):  # made for each call, and a class with __init__ takes three times as long
    """The calls of a query: queries on the same snapshot.

    Args:
        runtime: Runs functions.
        snapshot: The snapshot that the query reads.
        now: The time of the query, in milliseconds since the epoch.
        caller: The caller of the query.
    """

    _runtime: Runtime
    _snapshot: Snapshot
    now: float
    _caller: Caller

    def storage(self) -> StorageReader:
        """Return `ctx.storage`."""
        return StorageReader(self._runtime.files, self._caller.site, self._snapshot)

    def api_keys(self) -> ApiKeyReader:
        """Return `ctx.api_keys`."""
        return ApiKeyReader(self._runtime.api_keys, self._snapshot)

    def tokens(self) -> TokenReader:
        """Return `ctx.tokens`."""
        return TokenReader(self._runtime.tokens, self._snapshot)

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        """Run a query on the same snapshot, and return its value."""
        found, arguments = self._runtime.resolve(function, "query", args, kwargs, self._caller.depth)
        return self._runtime.query_in(self._snapshot, self.now, found, arguments, self._caller.deeper())


class MutationCalls(QueryCalls):
    """The calls of a mutation: queries that see its writes, and mutations as parts of its transaction.

    Args:
        runtime: Runs functions.
        snapshot: The transaction, which queries read.
        now: The time of the transaction, in milliseconds since the epoch.
        caller: The caller of the mutation.
        transaction: The transaction that the mutation writes in.
        db: The `ctx.db` of that transaction.
        hooks: Collects the steps after the commit.
        limit: The time limit of the transaction, or None.
        log: The commit log of the transaction, or None.
    """

    transaction: Transaction
    _db: DatabaseWriter
    _hooks: CommitHooks
    _limit: TimeLimit | None = None
    log: CommitLog | None = None
    _scheduler: Scheduler | None = None

    def ctx(self) -> MutationCtx:
        """Return the ctx of the mutation."""
        return MutationCtx(self._db, self._caller.auth, self.now, self)

    def storage(self) -> StorageWriter:
        """Return `ctx.storage`."""
        hooks = self._hooks
        files, site = self._runtime.files, self._caller.site
        return StorageWriter(files, site, self.transaction, hooks.add, hooks.new_files, self._times)

    def api_keys(self) -> ApiKeyWriter:  # type: ignore[override]  # a writer also lists
        """Return `ctx.api_keys`."""
        return ApiKeyWriter(self._runtime.api_keys, self.transaction, self._times, self.now)

    def tokens(self) -> TokenWriter:  # type: ignore[override]  # a writer also lists
        """Return `ctx.tokens`."""
        return TokenWriter(self._runtime.tokens, self.transaction, self._times, self.now)

    @property
    def _times(self) -> CreationTimes:
        """Assigns the creation times of the transaction."""
        return self._runtime.times_of(self._hooks)

    @property
    def jobs(self) -> JobWriter:
        """The writer of jobs in this transaction."""
        runtime, job = self._runtime, self._caller.job
        parent = None if job is None else job.id
        counts = self._hooks.job_counts
        return JobWriter(runtime.jobs, self.transaction, self._times, self.now, counts, parent)

    def scheduler(self) -> Scheduler:
        """Return `ctx.scheduler`, which is made once since a mutation may schedule many jobs."""
        if self._scheduler is None:
            runtime, jobs = self._runtime, self.jobs
            self._scheduler = Scheduler(runtime.functions, runtime.schema, lambda: self.now, lambda body: body(jobs))
        return self._scheduler

    def rate_limit(self, limit: Limit, key: str, count: float) -> float:
        """Take tokens from a bucket, as a part of the transaction, and return the number of tokens left.

        Raises:
            RateLimitedError: The bucket has too few tokens.
        """
        return self._runtime.rate_limits.take(self.transaction, self._times, self.now, limit, key, count)

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        """Run a mutation as a part of this transaction, and return its value."""
        found, arguments = self._runtime.resolve(function, "mutation", args, kwargs, self._caller.depth)
        inner = self._inside(self._db, self._caller.deeper(), self.now, self._hooks, self.log)
        return self.attempt(lambda: self._runtime.call(found, inner.ctx(), arguments, inner._caller))

    def attempt(self, body: Callable[[], T]) -> T:
        """Call a function at a savepoint. If it raises, its writes, hooks and jobs are rolled back."""
        mark, log = self._hooks.mark(), self.log
        log_mark = 0 if log is None else log.mark()
        try:
            with self.transaction.savepoint():
                return body()
        except BaseException:
            self._hooks.roll_back(mark)
            if log is not None:
                log.roll_back(log_mark)
            raise

    def run_job(self, function: Function[Any, Any], arguments: Kwargs, job: RunningJob, app_context: AppContext) -> Any:
        """Run a scheduled mutation as a part of this transaction, and return its value.

        It has its own time, its own limits on jobs, on its run time and on what it reads, its own commit in the log,
        and no identity. If it raises, its writes are rolled back.
        """
        mark, now = self._hooks.mark(), self._runtime.clock()
        hooks, caller = self._hooks.inside(), Caller(Auth(), self._caller.site, 1, job)
        log = None if self.log is None else CommitLog(self._runtime.cause(caller, function.name))
        db = self._runtime.writer(self.transaction, self._times, log)  # it counts what it reads apart from other jobs
        inner = self._inside(db, caller, now, hooks, log)
        self.restart_limit(function.name)
        try:
            with self.transaction.savepoint(), app_context():  # in this order: an error in teardown rolls back too
                value = self._runtime.call(function, inner.ctx(), arguments, caller)
        except BaseException:
            self._hooks.roll_back(mark)  # its files, which are those of the transaction
            raise
        if log is not None:
            log.commit(self.transaction, now)
        self._hooks.merge(hooks)
        return value

    def note_delivery(self, delivery_id: str, request_id: str | None, function: str | None = None) -> None:
        """Complete the cause of the commit with a webhook delivery.

        Args:
            delivery_id: The delivery.
            request_id: The id of the request that has brought it, or None.
            function: The handler that runs, or None if the cause has it.
        """
        if self.log is not None:
            cause = self.log.cause
            cause.delivery, cause.request_id = delivery_id, request_id
            cause.function = function or cause.function

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call a function after the commit, for parts of the package itself."""
        self._hooks.add(callback)

    def writes(self) -> RowWrites:
        """Return what writes rows of the application, for parts of the package itself."""
        return self.transaction if self.log is None else LoggedWrites(self.transaction, self.log)

    def _inside(
        self, db: DatabaseWriter, caller: Caller, now: float, hooks: CommitHooks, log: CommitLog | None
    ) -> MutationCalls:
        transaction = self.transaction
        return MutationCalls(self._runtime, transaction, now, caller, transaction, db, hooks, self._limit, log)

    def restart_limit(self, name: str) -> None:
        """Give the next function of the transaction the whole time limit.

        Args:
            name: The function, for the log.
        """
        if self._limit is not None:
            self._limit.restart(name)


class ActionCalls(msgspec.Struct, eq=False):  # made for each request
    """The calls of an action, each with a snapshot or transaction of its own.

    Args:
        runtime: Runs functions.
        caller: The caller of the action.
    """

    _runtime: Runtime
    _caller: Caller
    _job: RunningJob | None = None

    def storage(self) -> StorageActions:
        """Return `ctx.storage`."""
        return StorageActions(self._runtime.files, self._caller.site)

    def scheduler(self) -> Scheduler:
        """Return `ctx.scheduler`."""
        runtime = self._runtime
        return Scheduler(runtime.functions, runtime.schema, runtime.clock, self._with_jobs)

    def rate_limit(self, limit: Limit, key: str, count: float) -> float:
        """Take tokens from a bucket, in a transaction of its own, and return the number of tokens left.

        Raises:
            RateLimitedError: The bucket has too few tokens.
        """
        with self._runtime.engine.snapshot() as snapshot:  # a client without tokens must not cause writes
            self._runtime.rate_limits.check(snapshot, self._runtime.clock(), limit, key, count)
        return self._runtime.write(lambda calls: calls.rate_limit(limit, key, count), self._caller)

    def once(self, key: str, call: Callable[[str], Any], keep: timedelta | float) -> Any:
        """Make a call to another service once; see `ActionCtx.once`."""
        return self._runtime.once.run(key, call, keep, owner=self.job().id)

    def job(self) -> RunningJob:
        """Return the job that runs the action, or a placeholder with a new token if it was called directly."""
        self._job = self._job or self._caller.job
        if self._job is None:
            token = new_id("_scheduled_functions", self._runtime.clock())
            self._job = RunningJob(token, token)
        return self._job

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        """Run a query on a new snapshot, and return its value."""
        found, arguments = self._runtime.resolve(function, "query", args, kwargs, self._caller.depth)
        return self._runtime.query(found, arguments, self._caller.deeper())

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        """Run a mutation in a new transaction, and return its value after the commit."""
        found, arguments = self._runtime.resolve(function, "mutation", args, kwargs, self._caller.depth)
        return self._runtime.mutation(found, arguments, self._caller.deeper())

    def action(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        """Run an action, and return its value."""
        found, arguments = self._runtime.resolve(function, "action", args, kwargs, self._caller.depth)
        caller = self._caller.deeper()
        return self._runtime.call(found, self._runtime.action_ctx(caller), arguments, caller)

    def _with_jobs(self, body: Callable[[JobWriter], T], /) -> T:
        return self._runtime.write(lambda calls: body(calls.jobs), self._caller)


def calls_of(ctx: MutationCtx) -> MutationCalls:
    """Return the calls behind the ctx of a mutation, for functions of the package itself."""
    return ctx._calls


def caller_of(ctx: ActionCtx | QueryCtx) -> Caller:
    """Return the caller behind a ctx, for functions of the package itself."""
    return ctx._calls._caller


def take_token(ctx: ActionCtx | MutationCtx, limit: Limit, key: str) -> float:
    """Take a token from a bucket, and return the number of tokens left; see `ctx.rate_limit`."""
    return ctx._calls.rate_limit(limit, key, 1)
