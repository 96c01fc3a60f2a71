"""Run one function: find it, check its arguments, open its transaction, check its result, commit.

A caller outside the package's runtime enters here. The calls of one function to another go through `calls`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask_convex_http.credentials import Credentials
from flask_convex_http.database.creation_times import CreationTimes
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.database.limits import LIMITS, Limits
from flask_convex_http.database.page_cursors import PageCursors
from flask_convex_http.engines import Engine, Snapshot, Transaction
from flask_convex_http.errors import ArgumentRangeError, ArgumentValidationError, MutationInterruptedError
from flask_convex_http.functions.function import Function, Kind
from flask_convex_http.functions.registry import Registry
from flask_convex_http.history.coverage import CommitLogs
from flask_convex_http.history.log import Cause, CommitLog
from flask_convex_http.identities import UserIdentity
from flask_convex_http.once import OnceCalls
from flask_convex_http.rate_limits import RateLimits
from flask_convex_http.runtime.auth import Auth
from flask_convex_http.runtime.caller import Caller
from flask_convex_http.runtime.calls import ActionCalls, MutationCalls, QueryCalls
from flask_convex_http.runtime.commit_hooks import CommitHooks
from flask_convex_http.runtime.context import ActionCtx, MutationCtx, QueryCtx
from flask_convex_http.runtime.observed import ObservedCall, ObservedTransaction
from flask_convex_http.runtime.time_limit import TimeLimit
from flask_convex_http.scheduling import Jobs
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import AccessToken, ApiKey
from flask_convex_http.storage.files import Files, Site, unknown_site
from flask_convex_http.storage.new_files import UploadNeededError
from flask_convex_http.telemetry import Telemetry

T = TypeVar("T")
AnyFunction = Function[Any, Any] | str
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
#: Returns the context that a function runs in, such as Flask's application context.
AppContext = Callable[[], AbstractContextManager[Any]]

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})
_ANONYMOUS = Auth()


@dataclass(frozen=True, slots=True)
class Runtime:
    """Runs the functions of one application.

    Attributes:
        schema: The application's schema.
        functions: The application's functions.
        engine: The database.
        files: The stored files.
        jobs: The scheduled functions.
        rate_limits: The rate limits.
        once: The calls of `ctx.once` and their recorded results.
        api_keys: The API keys.
        tokens: The access tokens.
        cursors: The cursors of paginated queries.
        clock: Returns the time, in milliseconds since the epoch.
        site: Returns the start of absolute URLs, or None to use each caller's.
        mutation_timeout: Seconds that a mutation may run.
        limits: The limits of documents, and of what functions read and return.
        times: Assigns the creation times of documents.
        logs: Makes the commit log of each transaction.
        telemetry: Receives an event for each call and transaction.
    """

    schema: Schema
    functions: Registry
    engine: Engine
    files: Files
    jobs: Jobs
    rate_limits: RateLimits
    once: OnceCalls
    api_keys: Credentials[ApiKey]
    tokens: Credentials[AccessToken]
    cursors: PageCursors
    logs: CommitLogs
    clock: Callable[[], float]
    site: Site | None = None
    mutation_timeout: float = 30.0
    limits: Limits = LIMITS
    times: CreationTimes = field(default_factory=CreationTimes)
    telemetry: Telemetry = field(default_factory=Telemetry)

    def resolve(
        self, function: AnyFunction, kind: Kind, args: Args, kwargs: Kwargs, depth: int
    ) -> tuple[Function[Any, Any], Kwargs]:
        """Return a function by reference or by name, and its checked arguments.

        Args:
            function: The function or its name.
            kind: The kind that it must have.
            args: Positional arguments.
            kwargs: Arguments by name.
            depth: The number of functions that the call is inside of.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is of another kind, or not registered.
            ArgumentValidationError: The arguments do not match.
            ArgumentRangeError: The caller is no function, and a value is not accepted.
        """
        found: Function[Any, Any] = self.functions.resolve(function, kind)
        if found.schema is not self.schema:
            found.bind(self.schema)
        try:
            return found, found.check_arguments(args, kwargs)
        except ArgumentRangeError as error:
            if depth == 0:
                raise
            raise ArgumentValidationError(str(error)) from None  # the function computed it, no client has sent it

    def caller(
        self,
        identity: UserIdentity | Auth | None = None,
        site: Site = unknown_site,
        request_id: str | None = None,
    ) -> Caller:
        """Return the caller of a function that no other function runs.

        Args:
            identity: The identity, a request's `Auth` that finds it when it is asked for, or None for an anonymous
                caller.
            site: Returns the start of absolute URLs, unless the deployment sets it.
            request_id: The id of the HTTP request, or None.
        """
        auth = Auth(identity) if isinstance(identity, UserIdentity) else identity or _ANONYMOUS
        return Caller(auth, site if self.site is None else self.site, request_id=request_id)

    def action_ctx(self, caller: Caller) -> ActionCtx:
        """Return the ctx of an action, which runs each query and mutation in a transaction of its own."""
        return ActionCtx(caller.auth, ActionCalls(self, caller))

    def query(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a query on a new snapshot, and return its value."""
        if self.telemetry.is_on:
            with ObservedCall(self.telemetry, function, caller):
                return self._query(function, arguments, caller)
        return self._query(function, arguments, caller)

    def _query(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        caller.auth.settle()  # it may fetch the keys of an issuer, which no snapshot should wait for
        if function.takes_values:
            return self.engine.read(
                lambda snapshot: self._query_in(snapshot, self.clock(), function, arguments, caller)
            )
        fresh = fresh_arguments(arguments)
        return self.engine.read(lambda snapshot: self._query_in(snapshot, self.clock(), function, next(fresh), caller))

    def query_in(
        self,
        snapshot: Snapshot,
        now: float,
        function: Function[Any, Any],
        arguments: Kwargs,
        caller: Caller,
        *,
        is_live: bool = False,
    ) -> Any:
        """Run a query on an open snapshot, and return its value.

        Args:
            snapshot: The snapshot.
            now: The time that the query sees, in milliseconds since the epoch.
            function: The query.
            arguments: Its validated arguments.
            caller: The caller.
            is_live: Whether it is a run of a live query. There are many, so only failed ones are logged.
        """
        if self.telemetry.is_on:
            with ObservedCall(self.telemetry, function, caller, is_live=is_live):
                return self._query_in(snapshot, now, function, arguments, caller)
        return self._query_in(snapshot, now, function, arguments, caller)

    def _query_in(
        self, snapshot: Snapshot, now: float, function: Function[Any, Any], arguments: Kwargs, caller: Caller
    ) -> Any:
        ctx = self._query_ctx(snapshot, now, caller, function.name)
        return self.result(function, function.handler(ctx, **arguments))

    def call(self, function: Function[Any, Any], ctx: QueryCtx | ActionCtx, arguments: Kwargs, caller: Caller) -> Any:
        """Run a function with a ctx that is open, and return its validated value.

        Raises:
            ReturnsValidationError: The value does not match the annotation.
            FunctionLimitError: The value is too large.
        """
        if self.telemetry.is_on:
            with ObservedCall(self.telemetry, function, caller):
                return self.result(function, function.handler(ctx, **arguments))
        return self.result(function, function.handler(ctx, **arguments))

    def read(self, body: Callable[[QueryCtx], T], caller: Caller) -> T:
        """Call a Python function as a query on a new snapshot, and return its value."""
        caller.auth.settle()
        return self.engine.read(lambda snapshot: body(self._query_ctx(snapshot, self.clock(), caller, "")))

    def _query_ctx(self, snapshot: Snapshot, now: float, caller: Caller, name: str) -> QueryCtx:
        calls = QueryCalls(self, snapshot, now, caller)
        return QueryCtx(
            DatabaseReader(snapshot, self.schema, (self.cursors, name), self.limits), caller.auth, now, calls
        )

    def result(self, function: Function[Any, Any], value: Any) -> Any:
        """Return the validated value of a function.

        Raises:
            ReturnsValidationError: The value does not match the annotation.
            FunctionLimitError: The value is too large.
        """
        checked = function.check_returns(value)
        if function.returns_little or checked is None:
            return checked
        self.limits.check_result(checked, function.name)
        return checked

    def mutation(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a mutation in a new transaction, and return its value after the commit."""
        if self.telemetry.is_on:
            with ObservedCall(self.telemetry, function, caller):
                return self._mutation(function, arguments, caller)
        return self._mutation(function, arguments, caller)

    def _mutation(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        caller.auth.settle()  # it may fetch the keys of an issuer, which no transaction should wait for
        fresh = itertools.repeat(arguments) if function.takes_values else fresh_arguments(arguments)
        return self.write(
            lambda calls: self.result(function, function.handler(calls.ctx(), **next(fresh))),
            caller,
            name=function.name,
        )

    def writer(self, transaction: Transaction, times: CreationTimes, log: CommitLog | None = None) -> DatabaseWriter:
        """Return the `ctx.db` of a mutation, with a budget of its own for what it reads.

        Args:
            transaction: The transaction.
            times: Assigns the creation times of documents.
            log: The log of its commit, or None.
        """
        return DatabaseWriter(transaction, self.schema, times, self.cursors, self.limits, log)

    def cause(self, caller: Caller, function: str | None) -> Cause:
        """Return the cause of a commit.

        Args:
            caller: The caller.
            function: The function that runs, or None.
        """
        identity, job = caller.auth.known, caller.job
        return Cause(
            caller.request_id,
            function,
            None if identity is None else identity.subject,
            None,
            None if job is None else job.id,
            None if job is None else job.cron,
        )

    def times_of(self, hooks: CommitHooks) -> CreationTimes:
        """Return what assigns the creation times of a transaction, given its commit hooks."""
        return self.times if hooks.files is None else hooks.files.times or self.times

    def transact(self, body: Callable[[MutationCtx], T], caller: Caller) -> T:
        """Call a Python function as a mutation in a new transaction, and return its value after the commit."""
        caller.auth.settle()
        return self.write(lambda calls: body(calls.ctx()), caller)

    def write(
        self,
        body: Callable[[MutationCalls], T],
        caller: Caller,
        *,
        timeout: float | None = None,
        name: str | None = None,
        label: str = "mutation",
    ) -> T:
        """Call a Python function in a new transaction, commit, and run the commit hooks.

        Args:
            body: Called with the calls of the transaction. The engine may retry it from the start.
            caller: The caller of the functions that the body runs.
            timeout: See `Engine.write`.
            name: The function, for the commit log, telemetry and the log line if it runs for too long. None for no
                function.
            label: What runs, for telemetry and that log line, if it is no function.

        Raises:
            OverloadedError: The writer was busy for too long.
            MutationTimeoutError: The body ran for too long.
        """
        if self.telemetry.is_on:
            with ObservedTransaction(self.telemetry, name, label, caller.request_id) as observed:
                return self._write(observed.counted(body), caller, timeout, name, label)
        return self._write(body, caller, timeout, name, label)

    def _write(
        self, body: Callable[[MutationCalls], T], caller: Caller, timeout: float | None, name: str | None, label: str
    ) -> T:
        if not self.logs.is_ready:
            self.logs.prepare(self.engine, self.clock(), timeout)
        hooks = CommitHooks()

        def work(transaction: Transaction) -> T:
            hooks.clear()
            times = self.times_of(hooks)
            now = times.begin(self.clock())
            log = CommitLog(self.cause(caller, name)) if self.logs.is_on else None
            db = self.writer(transaction, times, log)
            limit = TimeLimit(self.mutation_timeout, name or f"The {label}", transaction.interrupt)
            try:
                with limit:
                    result = body(MutationCalls(self, transaction, now, caller, transaction, db, hooks, limit, log))
            except MutationInterruptedError as error:  # it was raised just before the end of the block
                raise limit.settle() from error
            if hooks.files is not None:
                hooks.files.before_commit()
            if log is not None and log.noted:
                log.commit(transaction, now)
            return result

        try:
            result = self.engine.write(work, timeout=timeout)
        except UploadNeededError as needed:
            result = needed.files.repeat(lambda: self.engine.write(work, timeout=timeout), self.times)
        except Exception as error:
            if hooks.files is not None:
                hooks.files.delete_unused(error)
            raise
        if hooks.files is not None:
            hooks.files.delete_unused()
        hooks.run(self.jobs.announce)
        return result


def fresh_arguments(arguments: Kwargs) -> Iterator[Kwargs]:
    """Yield the arguments for each attempt of a function, without the changes that an earlier attempt made to them.

    Args:
        arguments: The arguments.
    """
    if _IMMUTABLE.issuperset(map(type, arguments.values())):
        return itertools.repeat(arguments)
    try:
        kept = copy.deepcopy(arguments)
    except Exception:  # such as an open file, given by the application itself
        return itertools.repeat(arguments)
    return itertools.chain([arguments], (copy.deepcopy(kept) for _ in itertools.count()))
