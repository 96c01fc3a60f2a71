"""Running one function: resolve it, check the arguments, open its transaction, check the result, commit.

What may call what is decided here: a query runs queries on its own snapshot; a mutation runs queries and, as
sub-transactions, mutations; an action runs anything, each in a transaction of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import msgspec

from flask_convex_http.context import ActionCtx, Auth, MutationCtx, QueryCtx
from flask_convex_http.database import CreationTimes, DatabaseReader, DatabaseWriter
from flask_convex_http.engines.base import Engine, Snapshot, Transaction
from flask_convex_http.errors import FunctionCallError
from flask_convex_http.functions import Function, Kind
from flask_convex_http.registry import Registry
from flask_convex_http.schema import Schema
from flask_convex_http.storage import Files, Site, StorageActions, StorageReader, StorageWriter

T = TypeVar("T")
AnyFunction = Function[Any, Any] | str
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Hook = Callable[[], None]

logger = logging.getLogger("flask_convex_http")

#: Calls within calls within calls.
MAX_DEPTH = 8


class Caller(msgspec.Struct, frozen=True):  # one is made for each call, and a dataclass takes five times as long
    """On whose behalf functions run.

    Attributes:
        auth: Who is calling.
        site: Answers what URLs start with.
        depth: How many functions this call is inside of.
    """

    auth: Auth
    site: Site = str
    depth: int = 0

    def deeper(self) -> Caller:
        """The caller of a function that this one runs."""
        if self.depth >= MAX_DEPTH:
            raise FunctionCallError(f"Functions call each other more than {MAX_DEPTH} deep; is there an endless loop?")
        return Caller(self.auth, self.site, self.depth + 1)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What running a function needs; one for an application."""

    schema: Schema
    functions: Registry
    engine: Engine
    files: Files
    clock: Callable[[], float]
    times: CreationTimes = field(default_factory=CreationTimes)

    def resolve(
        self, function: AnyFunction, kind: Kind, args: Args, kwargs: Kwargs
    ) -> tuple[Function[Any, Any], Kwargs]:
        """The function meant, and its arguments, checked."""
        found: Function[Any, Any] = self.functions.resolve(function, kind)
        found.bind(self.schema)
        return found, found.check_arguments(args, kwargs)

    def action_ctx(self, caller: Caller) -> ActionCtx:
        """A ctx to run functions from, outside of any transaction."""
        return ActionCtx(caller.auth, ActionCalls(self, caller))

    def query(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a query on a new snapshot."""
        with self.engine.read() as snapshot:
            return self.query_in(snapshot, self.clock(), function, arguments, caller)

    def query_in(
        self, snapshot: Snapshot, now: float, function: Function[Any, Any], arguments: Kwargs, caller: Caller
    ) -> Any:
        """Run a query on a snapshot that is open."""
        calls = QueryCalls(self, snapshot, now, caller)
        ctx = QueryCtx(DatabaseReader(snapshot, self.schema), caller.auth, now, calls)
        return function.check_returns(function.handler(ctx, **arguments))

    def mutation(self, function: Function[Any, Any], arguments: Kwargs, caller: Caller) -> Any:
        """Run a mutation in a new transaction."""
        return self.transact(lambda ctx: function.check_returns(function.handler(ctx, **arguments)), caller)

    def transact(self, body: Callable[[MutationCtx], T], caller: Caller) -> T:
        """Run a body in a new transaction and commit; then what was to happen after the commit."""
        hooks: list[Hook] = []

        def work(transaction: Transaction) -> T:
            hooks.clear()  # an engine may have to run the work again
            now = self.clock()
            self.times.begin(now)
            db = DatabaseWriter(transaction, self.schema, self.times)
            return body(MutationCalls(self, transaction, db, now, hooks, caller).ctx())

        result = self.engine.write(work)
        for hook in hooks:
            _run_hook(hook)
        return result


class ActionCalls:
    """Calls from an action: each its own transaction."""

    __slots__ = ("_caller", "_runtime")

    def __init__(self, runtime: Runtime, caller: Caller) -> None:
        self._runtime = runtime
        self._caller = caller

    def storage(self) -> StorageActions:
        return StorageActions(self._runtime.files, self._caller.site)

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


class MutationCalls:
    """Calls from a mutation: queries that see its writes, and mutations as parts of its transaction."""

    __slots__ = ("_caller", "_db", "_hooks", "_now", "_runtime", "_transaction")

    def __init__(
        self,
        runtime: Runtime,
        transaction: Transaction,
        db: DatabaseWriter,
        now: float,
        hooks: list[Hook],
        caller: Caller,
    ) -> None:
        self._runtime = runtime
        self._transaction = transaction
        self._db = db
        self._now = now
        self._hooks = hooks
        self._caller = caller

    def ctx(self) -> MutationCtx:
        """The ctx these calls come from."""
        return MutationCtx(self._db, self._caller.auth, self._now, self)

    def storage(self) -> StorageWriter:
        return StorageWriter(self._runtime.files, self._caller.site, self._transaction, self._hooks.append)

    def query(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "query", args, kwargs)
        return self._runtime.query_in(self._transaction, self._now, found, arguments, self._caller.deeper())

    def mutation(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> Any:
        found, arguments = self._runtime.resolve(function, "mutation", args, kwargs)
        inner = MutationCalls(self._runtime, self._transaction, self._db, self._now, self._hooks, self._caller.deeper())
        before = len(self._hooks)
        try:
            with self._transaction.savepoint():
                return found.check_returns(found.handler(inner.ctx(), **arguments))
        except BaseException:
            del self._hooks[before:]
            raise

    def action(self, function: AnyFunction, args: Args, kwargs: Kwargs) -> NoReturn:
        raise FunctionCallError(
            "A mutation cannot run an action: it must not wait for the world. Run both from an action"
        )


def _run_hook(hook: Hook) -> None:
    """The commit stands whatever happens now; what is left over, such as a deleted file's bytes, is swept later."""
    try:
        hook()
    except Exception:
        logger.exception("Something that was to happen after a commit failed; the commit stands")
