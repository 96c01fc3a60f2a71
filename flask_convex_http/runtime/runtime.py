"""Running one function: resolve it, check the arguments, open its transaction, check the result, commit.

What may call what is decided here: a query runs queries on its own snapshot; a mutation runs queries and, as
sub-transactions, mutations; an action runs anything, each in a transaction of its own.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import msgspec

from flask_convex_http.credentials import UserIdentity
from flask_convex_http.database.db import CreationTimes, DatabaseReader, DatabaseWriter
from flask_convex_http.engines.base import Engine, RestartError, Snapshot, Transaction
from flask_convex_http.errors import FunctionCallError
from flask_convex_http.functions.function import Function, Kind
from flask_convex_http.functions.registry import Registry
from flask_convex_http.ids import Id, new_id
from flask_convex_http.once import OnceCalls
from flask_convex_http.rate_limits import Limit, RateLimits
from flask_convex_http.runtime.commit_hooks import Effects
from flask_convex_http.runtime.context import ActionCtx, Auth, MutationCtx, QueryCtx
from flask_convex_http.scheduling.jobs import Jobs
from flask_convex_http.scheduling.scheduler import Job, Scheduler, Submission
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.storage.files import Files, Site
from flask_convex_http.storage.storage import StorageActions, StorageReader, StorageWriter

T = TypeVar("T")
AnyFunction = Function[Any, Any] | str
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
#: Returns the context that a function runs in, such as Flask's application context.
AppContext = Callable[[], AbstractContextManager[Any]]

#: Values of arguments that a function cannot change.
_UNCHANGEABLE = (str, int, float, bytes, type(None))

_ANONYMOUS = Auth()

#: Calls within calls within calls.
MAX_DEPTH = 8


class Caller(msgspec.Struct, frozen=True):  # one is made for each call, and a dataclass takes five times as long
    """On whose behalf functions run.

    Attributes:
        auth: Who is calling.
        site: Answers what URLs start with.
        depth: How many functions this call is inside of.
        job: What was scheduled and runs now, if it is that.
    """

    auth: Auth
    site: Site = str
    depth: int = 0
    job: Job | None = None

    def deeper(self) -> Caller:
        """The caller of a function that this one runs."""
        if self.depth >= MAX_DEPTH:
            raise FunctionCallError(f"Functions call each other more than {MAX_DEPTH} deep; is there an endless loop?")
        return Caller(self.auth, self.site, self.depth + 1, self.job)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What running a function needs; one for an application."""

    schema: Schema
    functions: Registry
    engine: Engine
    files: Files
    jobs: Jobs
    rate_limits: RateLimits
    once: OnceCalls
    clock: Callable[[], float]
    #: Returns the start of absolute URLs; None to use that of each caller.
    site: Site | None = None
    times: CreationTimes = field(default_factory=CreationTimes)

    def resolve(
        self, function: AnyFunction, kind: Kind, args: Args, kwargs: Kwargs
    ) -> tuple[Function[Any, Any], Kwargs]:
        """The function meant, and its arguments, checked."""
        found: Function[Any, Any] = self.functions.resolve(function, kind)
        found.bind(self.schema)
        return found, found.check_arguments(args, kwargs)

    def caller(self, identity: UserIdentity | None = None, site: Site = str) -> Caller:
        """Return an outermost caller.

        Args:
            identity: Who is calling, None for an anonymous caller.
            site: Returns the start of absolute URLs, unless the deployment sets it.
        """
        auth = _ANONYMOUS if identity is None else Auth(identity)
        return Caller(auth, site if self.site is None else self.site)

    def action_ctx(self, caller: Caller) -> ActionCtx:
        """A ctx to run functions from, outside of any transaction."""
        return ActionCtx(caller.auth, ActionCalls(self, caller))

    def query(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a query on a new snapshot."""
        each = _for_each_run(arguments)
        try:
            with self.engine.read(restartable=True) as snapshot:
                return self.query_in(snapshot, self.clock(), function, next(each), caller)
        except RestartError:
            with self.engine.read() as snapshot:
                return self.query_in(snapshot, self.clock(), function, next(each), caller)

    def query_in(
        self, snapshot: Snapshot, now: float, function: Function[Any, Any], arguments: Kwargs, caller: Caller
    ) -> Any:
        """Run a query on a snapshot that is open."""
        calls = QueryCalls(self, snapshot, now, caller)
        ctx = QueryCtx(DatabaseReader(snapshot, self.schema), caller.auth, now, calls)
        return function.check_returns(function.handler(ctx, **arguments))

    def mutation(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a mutation in a new transaction."""
        each = _for_each_run(arguments)
        return self.transact(lambda ctx: function.check_returns(function.handler(ctx, **next(each))), caller)

    def transact(self, body: Callable[[MutationCtx], T], caller: Caller) -> T:
        """Run a body in a new transaction and commit; then what was to happen after the commit."""
        return self.write(lambda calls: body(calls.ctx()), caller)

    def write(self, body: Callable[[MutationCalls], T], caller: Caller, *, patience: float | None = None) -> T:
        """The same for a body that runs mutations itself; see `Engine.write` for the patience."""
        effects = Effects()

        def work(transaction: Transaction) -> T:
            effects.clear()  # an engine may have to run the work again
            now = self.clock()
            self.times.begin(now)
            db = DatabaseWriter(transaction, self.schema, self.times)
            return body(MutationCalls(self, transaction, db, now, effects, caller))

        result = self.engine.write(work, patience=patience)
        effects.happen()
        return result

    def submission(self, when: float, function: AnyFunction, args: Args, kwargs: Kwargs) -> Submission:
        """What is to be scheduled, checked."""
        found: Function[Any, Any] = self.functions.find(function) if isinstance(function, str) else function
        submission = Submission.of(found, self.schema, when, args, kwargs)
        if not self.functions.has(found):
            raise FunctionCallError(
                f"{found.name} could not be found when it is due: add its module to ConvexHTTP(functions=[...])"
            )
        return submission


def _for_each_run(arguments: Kwargs) -> Iterator[Kwargs]:
    """The arguments, as often as a function is run: what it does to a list that it is given is undone, too."""
    if all(isinstance(value, _UNCHANGEABLE) for value in arguments.values()):
        return itertools.repeat(arguments)
    try:
        kept = copy.deepcopy(arguments)
    except Exception:  # an open file, say, given by the application itself
        return itertools.repeat(arguments)
    return itertools.chain([arguments], (copy.deepcopy(kept) for _ in itertools.count()))


def calls_of(ctx: MutationCtx) -> MutationCalls:
    """What is behind the ctx of a mutation, for functions of the package itself."""
    calls = ctx._calls
    assert isinstance(calls, MutationCalls)
    return calls


class ActionCalls:
    """Calls from an action: each its own transaction."""

    __slots__ = ("_caller", "_job", "_runtime")

    def __init__(self, runtime: Runtime, caller: Caller) -> None:
        self._runtime = runtime
        self._caller = caller
        self._job = caller.job

    def storage(self) -> StorageActions:
        return StorageActions(self._runtime.files, self._caller.site)

    def scheduler(self) -> Scheduler:
        return Scheduler(self, self._runtime.clock)

    def schedule(self, when: float, function: AnyFunction, args: Args, kwargs: Kwargs) -> Id[ScheduledFunction]:
        submission = self._runtime.submission(when, function, args, kwargs)
        return self._runtime.write(lambda calls: calls.submit(submission), self._caller)

    def cancel(self, job_id: Id[ScheduledFunction]) -> None:
        self._runtime.write(lambda calls: calls.cancel(job_id), self._caller)

    def rate_limit(self, limit: Limit, key: str, count: float) -> None:
        with self._runtime.engine.read() as snapshot:  # who has used up their tokens does not make the disk busy too
            self._runtime.rate_limits.check(snapshot, self._runtime.clock(), limit, key, count)
        self._runtime.write(lambda calls: calls.rate_limit(limit, key, count), self._caller)

    def once(self, key: str, call: Callable[[str], Any], keep: timedelta | float) -> Any:
        return self._runtime.once.run(key, call, keep, owner=self.job().id)

    def job(self) -> Job:
        if self._job is None:  # it was not scheduled: a name for this one call
            token = new_id("_scheduled_functions", self._runtime.clock())
            self._job = Job(token, token)
        return self._job

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "query", args, kwargs)
        return self._runtime.query(found, arguments, self._caller.deeper())

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "mutation", args, kwargs)
        return self._runtime.mutation(found, arguments, self._caller.deeper())

    def action(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "action", args, kwargs)
        ctx = self._runtime.action_ctx(self._caller.deeper())
        return found.check_returns(found.handler(ctx, **arguments))


class QueryCalls:
    """Calls from a query: queries on the same snapshot."""

    __slots__ = ("_caller", "_now", "_runtime", "_snapshot")

    def __init__(self, runtime: Runtime, snapshot: Snapshot, now: float, caller: Caller) -> None:
        self._runtime = runtime
        self._snapshot = snapshot
        self._now = now
        self._caller = caller

    def storage(self) -> StorageReader:
        return StorageReader(self._runtime.files, self._caller.site, self._snapshot)

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "query", args, kwargs)
        return self._runtime.query_in(self._snapshot, self._now, found, arguments, self._caller.deeper())

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> NoReturn:
        raise FunctionCallError("A query cannot run a mutation: it only reads. Run both from an action or a handler")

    def action(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> NoReturn:
        raise FunctionCallError("A query cannot run an action: it only reads. Run both from an action or a handler")

    def scheduler(self) -> NoReturn:
        raise FunctionCallError("A query cannot schedule anything: it only reads")

    def rate_limit(self, limit: Limit, key: str, count: float) -> NoReturn:
        raise FunctionCallError("A query cannot take tokens from a bucket: it only reads")

    def once(self, key: str, call: Callable[[str], Any], keep: timedelta | float) -> NoReturn:
        raise FunctionCallError("A query cannot call other services: it only reads")

    def job(self) -> NoReturn:
        raise FunctionCallError("A query is not scheduled and has no token")


class MutationCalls:
    """Calls from a mutation: queries that see its writes, and mutations as parts of its transaction."""

    __slots__ = ("_caller", "_db", "_effects", "_runtime", "now", "transaction")

    def __init__(
        self,
        runtime: Runtime,
        transaction: Transaction,
        db: DatabaseWriter,
        now: float,
        effects: Effects,
        caller: Caller,
    ) -> None:
        self._runtime = runtime
        self.transaction = transaction
        self._db = db
        self.now = now
        self._effects = effects
        self._caller = caller

    def ctx(self) -> MutationCtx:
        """The ctx these calls come from."""
        return MutationCtx(self._db, self._caller.auth, self.now, self)

    def storage(self) -> StorageWriter:
        return StorageWriter(self._runtime.files, self._caller.site, self.transaction, self._effects.after)

    def scheduler(self) -> Scheduler:
        return Scheduler(self, lambda: self.now)

    def schedule(self, when: float, function: AnyFunction, args: Args, kwargs: Kwargs) -> Id[ScheduledFunction]:
        return self.submit(self._runtime.submission(when, function, args, kwargs))

    def submit(self, submission: Submission) -> Id[ScheduledFunction]:
        """Schedule something that was checked."""
        jobs = self._runtime.jobs
        self._effects.count_job(len(submission.arguments), submission.when, jobs.announce)
        by = self._caller.job
        is_canceled = by is not None and jobs.is_canceled(self.transaction, by.id)
        return jobs.add(self.transaction, self._runtime.times, self.now, submission, is_canceled=is_canceled)

    def announce(self, due: float) -> None:
        """After the commit, tell the workers of something that the package itself has scheduled."""
        self._effects.announce(due, self._runtime.jobs.announce)

    def cancel(self, job_id: Id[ScheduledFunction]) -> None:
        self._runtime.jobs.cancel(self.transaction, job_id, self.now)

    def rate_limit(self, limit: Limit, key: str, count: float) -> None:
        self._runtime.rate_limits.take(self.transaction, self._runtime.times, self.now, limit, key, count)

    def once(self, key: str, call: Callable[[str], Any], keep: timedelta | float) -> NoReturn:
        raise FunctionCallError("A mutation cannot call other services: schedule an action that does")

    def job(self) -> NoReturn:
        raise FunctionCallError("A mutation runs once, whatever happens, and needs no token")

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "query", args, kwargs)
        return self._runtime.query_in(self.transaction, self.now, found, arguments, self._caller.deeper())

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "mutation", args, kwargs)
        inner = self._inside(self._caller.deeper(), self.now, self._effects)
        return self.attempt(lambda: found.check_returns(found.handler(inner.ctx(), **arguments)))

    def attempt(self, body: Callable[[], T]) -> T:
        """Run a body as a part of this transaction; what it has written and caused is undone alone if it raises."""
        before = self._effects.mark()
        try:
            with self.transaction.savepoint():
                return body()
        except BaseException:
            self._effects.undo(before)
            raise

    def run_job(self, function: Function[Any, Any], arguments: Kwargs, job: Job, app_context: AppContext) -> Any:
        """Run a scheduled mutation as a part of this transaction, with its own time and limits; return its value."""
        effects, caller = Effects(), Caller(Auth(), self._caller.site, 1, job)
        inner = self._inside(caller, self._runtime.clock(), effects)
        with self.transaction.savepoint(), app_context():  # an error of its exit rolls back the writes, too
            value = function.check_returns(function.handler(inner.ctx(), **arguments))
        self._effects.absorb(effects)
        return value

    def _inside(self, caller: Caller, now: float, effects: Effects) -> MutationCalls:
        return MutationCalls(self._runtime, self.transaction, self._db, now, effects, caller)

    def action(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> NoReturn:
        raise FunctionCallError(
            "A mutation cannot run an action: it must not wait for the world. Run both from an action"
        )
