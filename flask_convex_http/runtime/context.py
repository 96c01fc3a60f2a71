"""The ctx a function is given: what a query, a mutation and an action can reach.

A ctx holds no logic of its own. How a function is run from it is `runtime`'s work, which comes in as `Calls`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from flask_convex_http.credentials import UserIdentity
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.functions.function import Action, Function, Mutation, Query
from flask_convex_http.rate_limits import Limit
from flask_convex_http.scheduling.scheduler import Job, Scheduler
from flask_convex_http.storage.storage import StorageActions, StorageReader, StorageWriter

P = ParamSpec("P")
R = TypeVar("R")

#: How long `ctx.once` remembers.
_REMEMBERED = timedelta(days=30)


class Calls(Protocol):
    """Runs functions on behalf of a ctx."""

    def query(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def mutation(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def action(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def storage(self) -> Any: ...
    def scheduler(self) -> Scheduler: ...
    def rate_limit(self, limit: Limit, key: str, count: float) -> None: ...
    def once(self, key: str, call: Callable[[str], Any], keep: timedelta | float) -> Any: ...
    def job(self) -> Job: ...


class Auth:
    """Who is calling."""

    __slots__ = ("_identity",)

    def __init__(self, identity: UserIdentity | None = None) -> None:
        self._identity = identity

    def get_user_identity(self) -> UserIdentity | None:
        """The caller's identity, or None if the call is anonymous."""
        return self._identity


class QueryCtx:
    """What a query can reach: one snapshot of the database.

    Attributes:
        db: The documents.
        auth: Who is calling.
        now: The time the function started, in milliseconds since the epoch; it does not move.
    """

    __slots__ = ("_calls", "auth", "db", "now")
    db: DatabaseReader

    def __init__(self, db: DatabaseReader, auth: Auth, now: float, calls: Calls) -> None:
        self.db = db
        self.auth = auth
        self.now = now
        self._calls = calls

    @property
    def storage(self) -> StorageReader:
        """URLs and metadata of files."""
        files: StorageReader = self._calls.storage()
        return files

    @overload
    def run_query(self, function: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_query(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query on the same snapshot, by reference or by name."""
        return self._calls.query(function, args, kwargs)


class _RateLimits:
    """`rate_limit`, as mutations and actions have it."""

    __slots__ = ()
    _calls: Calls

    def rate_limit(
        self,
        name: str,
        *,
        key: str = "",
        rate: float,
        period: timedelta | float,
        capacity: float | None = None,
        count: float = 1,
    ) -> None:
        """Take tokens from a bucket: in a mutation as a part of it, so that they are back if it fails, else at once.

        Args:
            name: The limit's name.
            key: Whose bucket it is, such as a user's id.
            rate: How many tokens come back each period.
            period: A timedelta, or seconds.
            capacity: How many tokens the bucket holds; as many as come back in a period if not given.
            count: How many tokens to take.

        Raises:
            RateLimitedError: There are not enough; nothing was taken. The edge answers 429 with Retry-After.
            RegistrationError: The limit cannot work.
            ArgumentValidationError: The count is more than the bucket holds, or the key is not a text.
        """
        self._calls.rate_limit(Limit.of(name, rate, period, capacity), key, count)


class MutationCtx(QueryCtx, _RateLimits):
    """What a mutation can reach: one transaction, all of which commits or nothing.

    Attributes:
        db: The documents, to read and write.
        auth: Who is calling.
        now: The time the transaction started, in milliseconds since the epoch; it does not move.
    """

    __slots__ = ()
    db: DatabaseWriter

    if not TYPE_CHECKING:  # for type checkers they are simply not there

        def __getattr__(self, name: str) -> Any:
            if name not in ("once", "run_action", "attempt", "idempotency_token"):
                raise AttributeError(f"MutationCtx has no attribute {name!r}")
            raise AttributeError(
                f"ctx.{name} is for actions, since a mutation must not wait for the world: schedule one with "
                "ctx.scheduler.run_after(0, ...)"
            )

    @property
    def storage(self) -> StorageWriter:
        """URLs and metadata of files, uploads and deletion."""
        files: StorageWriter = self._calls.storage()
        return files

    @property
    def scheduler(self) -> Scheduler:
        """Functions to run later: they are scheduled if and only if this transaction commits."""
        return self._calls.scheduler()

    @overload
    def run_mutation(self, function: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation as a part of this one. If it raises and you catch that, only its own writes are undone."""
        return self._calls.mutation(function, args, kwargs)


class ActionCtx(_RateLimits):
    """What an action or an HTTP handler can reach: functions, each a transaction of its own, and files.

    Attributes:
        auth: Who is calling.
    """

    __slots__ = ("_calls", "auth")

    def __init__(self, auth: Auth, calls: Calls) -> None:
        self.auth = auth
        self._calls = calls

    @property
    def storage(self) -> StorageActions:
        """Files, their bytes included."""
        files: StorageActions = self._calls.storage()
        return files

    @property
    def scheduler(self) -> Scheduler:
        """Functions to run later; each is scheduled at once, whatever becomes of this action."""
        return self._calls.scheduler()

    @property
    def idempotency_token(self) -> str:
        """A text that is the same in every attempt of one scheduled action, and another in every other call."""
        return self._calls.job().token

    @property
    def attempt(self) -> int:
        """Which attempt of a scheduled action this is, from 1; more than 1 only with `@action(retry=...)`."""
        return self._calls.job().attempt

    def once(self, key: str, call: Callable[[str], R], *, keep: timedelta | float = _REMEMBERED) -> R:
        """Make a call to another service once, and answer its result then and ever after.

        A result that was recorded is answered without a call. If this process dies between the call and its record,
        the call is made again with the same token: a service that takes idempotency keys then does it once.

        Args:
            key: The application's name for the call, unique in the application: "charge:order_17".
            call: Gets the token, which depends on the key and the deployment's secret only, and answers what JSON can
                hold.
            keep: How long the result is remembered, a timedelta or seconds.

        Raises:
            CallInProgressError: Somebody else makes the call at this moment, or died less than a minute ago.
            ReturnsValidationError: The call was made, now or before, and JSON cannot hold its result.
            ArgumentValidationError: The key is not a text of 1 to 1000 characters.
            Exception: What the call raises; nothing is remembered then.
        """
        result: R = self._calls.once(key, call, keep)
        return result

    @overload
    def run_query(self, function: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_query(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query on a snapshot of its own, by reference or by name."""
        return self._calls.query(function, args, kwargs)

    @overload
    def run_mutation(self, function: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation as a transaction of its own, by reference or by name; it is durable when this returns."""
        return self._calls.mutation(function, args, kwargs)

    @overload
    def run_action(self, function: Action[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_action(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action, by reference or by name."""
        return self._calls.action(function, args, kwargs)
