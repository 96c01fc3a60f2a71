"""The ctx of a function: `QueryCtx`, `MutationCtx` and `ActionCtx`.

A ctx has no logic of its own. It passes every call on to `calls`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from flask_convex_http.attributes import explain_missing
from flask_convex_http.credentials import ApiKeyReader, ApiKeyWriter, TokenReader, TokenWriter
from flask_convex_http.database.db import DatabaseReader, DatabaseWriter
from flask_convex_http.functions.function import ActionFunction, MutationFunction, QueryFunction
from flask_convex_http.identities import UserIdentity
from flask_convex_http.rate_limits import Limit
from flask_convex_http.runtime.auth import Auth as Auth
from flask_convex_http.runtime.caller import AttemptNumber
from flask_convex_http.scheduling import Scheduler
from flask_convex_http.storage.storage import StorageActions, StorageReader, StorageWriter

if TYPE_CHECKING:
    from flask_convex_http.runtime.calls import ActionCalls, MutationCalls, QueryCalls

P = ParamSpec("P")
R = TypeVar("R")

#: How long `ctx.once` keeps a result by default.
_RETENTION = timedelta(days=30)
_SCHEDULE = (
    "is for actions, since a mutation must not wait for the world: schedule one with ctx.scheduler.run_after(0, ...)"
)
_WRITES = "a query only reads; call it from a mutation, an action or a handler"
_QUERY_HINTS = dict.fromkeys(
    ("run_mutation", "run_action", "scheduler", "rate_limit", "once", "attempt", "idempotency_token"), _WRITES
)
_MUTATION_HINTS = {name: f"ctx.{name} {_SCHEDULE}" for name in ("once", "run_action", "attempt", "idempotency_token")}
_ACTION_HINTS = {
    "db": (
        "ctx.db is for queries and mutations, which are transactions; call one from here: "
        "ctx.run_query(...) or ctx.run_mutation(...)"
    ),
    "api_keys": "ctx.api_keys is for queries and mutations; call one from here: ctx.run_mutation(...)",
    "tokens": "ctx.tokens is for queries and mutations; call one from here: ctx.run_mutation(...)",
    "now": "ctx.now is the time of a query or a mutation; write time.time() here",
}


class QueryCtx:
    """The ctx of a query, which sees one snapshot of the database.

    Attributes:
        db: The documents.
        auth: The identity of the caller.
        now: The time the function started, in milliseconds since the epoch. It does not change while it runs.
    """

    __slots__ = ("_calls", "auth", "db", "now")
    auth: Auth
    db: DatabaseReader

    def __init__(self, db: DatabaseReader, auth: Auth, now: float, calls: QueryCalls) -> None:
        self.db = db
        self.auth = auth
        self.now = now
        self._calls = calls

    @property
    def identity(self) -> UserIdentity:
        """The identity of the caller. Without one it raises `AuthenticationError`, whose response is 401."""
        return self.auth.required

    @property
    def storage(self) -> StorageReader:
        """URLs and metadata of files."""
        return self._calls.storage()

    @property
    def api_keys(self) -> ApiKeyReader:
        """The API keys, to list them."""
        return self._calls.api_keys()

    @property
    def tokens(self) -> TokenReader:
        """The access tokens, to list them."""
        return self._calls.tokens()

    @overload
    def run_query(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_query(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query on the same snapshot, and return its value.

        Args:
            function: The query, or its name such as "items:list_items".
            args: The query's arguments.
            kwargs: The query's arguments.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is not a query, or functions call each other more than eight deep.
            ArgumentValidationError: The arguments do not match.
            ReturnsValidationError: The value does not match.
        """
        return self._calls.query(function, args, kwargs)


explain_missing(QueryCtx, "ctx", _QUERY_HINTS)


class _RateLimits:
    """The rate limits of mutations and actions."""

    __slots__ = ()
    if TYPE_CHECKING:
        _calls: MutationCalls | ActionCalls

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
        """Take tokens from a bucket.

        In a mutation this is a part of the transaction, so a mutation that fails takes no tokens. In an action they are
        taken at once.

        Args:
            name: The limit's name.
            key: The bucket within the limit, such as a user's id.
            rate: The tokens that are refilled in each period.
            period: A timedelta, or seconds.
            capacity: The tokens that a full bucket holds. The default is `rate`.
            count: The tokens to take.

        Raises:
            RateLimitedError: The bucket has too few tokens; none was taken. The HTTP response is 429 with Retry-After.
            RegistrationError: The limit's parameters are invalid.
            ArgumentValidationError: The count is more than the capacity, or the key is not a text.
        """
        self._calls.rate_limit(Limit.of(name, rate, period, capacity), key, count)


class MutationCtx(_RateLimits, QueryCtx):
    """The ctx of a mutation, which is one transaction: all of it commits, or nothing.

    Attributes:
        db: The documents, to read and write.
        auth: The identity of the caller.
        now: The time the transaction started, in milliseconds since the epoch. It does not change while it runs.
    """

    __slots__ = ()
    db: DatabaseWriter

    if TYPE_CHECKING:  # not evaluated, so that typing.get_type_hints works on this class
        _calls: MutationCalls

    @property
    def storage(self) -> StorageWriter:
        """URLs, metadata, uploads and deletion of files."""
        return self._calls.storage()

    @property
    def api_keys(self) -> ApiKeyWriter:  # type: ignore[override]  # a writer also lists
        """The API keys: create, list, rotate and revoke them as a part of this transaction."""
        return self._calls.api_keys()

    @property
    def tokens(self) -> TokenWriter:  # type: ignore[override]  # a writer also lists
        """The access tokens: create, list, rotate and revoke them as a part of this transaction."""
        return self._calls.tokens()

    @property
    def scheduler(self) -> Scheduler:
        """Functions to run later. A job exists if and only if this transaction commits."""
        return self._calls.scheduler()

    @overload
    def run_mutation(self, function: MutationFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation as a part of this one, and return its value.

        If it raises and the caller catches the exception, only the inner mutation is rolled back.

        Args:
            function: The mutation, or its name such as "items:create".
            args: The mutation's arguments.
            kwargs: The mutation's arguments.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is not a mutation, or functions call each other more than eight deep.
            ArgumentValidationError: The arguments do not match.
            ReturnsValidationError: The value does not match.
        """
        return self._calls.mutation(function, args, kwargs)


explain_missing(MutationCtx, "ctx", _MUTATION_HINTS)


class ActionCtx(_RateLimits):
    """The ctx of an action or an HTTP handler: each query or mutation it runs has a transaction of its own.

    Attributes:
        auth: The identity of the caller.
    """

    __slots__ = ("_calls", "auth")
    if TYPE_CHECKING:
        _calls: ActionCalls

    def __init__(self, auth: Auth, calls: ActionCalls) -> None:
        self.auth = auth
        self._calls = calls

    @property
    def identity(self) -> UserIdentity:
        """The identity of the caller. Without one it raises `AuthenticationError`, whose response is 401."""
        return self.auth.required

    @property
    def storage(self) -> StorageActions:
        """Files, their bytes included."""
        return self._calls.storage()

    @property
    def scheduler(self) -> Scheduler:
        """Functions to run later. A job exists as soon as the call returns, even if this action fails."""
        return self._calls.scheduler()

    @property
    def idempotency_token(self) -> str:
        """A text that is the same in all attempts of one job, and different in every other call."""
        return self._calls.job().token

    @property
    def attempt(self) -> AttemptNumber:
        """The number of the attempt of a scheduled action, from 1; more than 1 only with `@action(retry=...)`.

        It is an int whose `max_attempts` is the number of the last attempt.
        """
        job = self._calls.job()
        return AttemptNumber(job.attempt, job.max_attempts)

    def once(self, key: str, call: Callable[[str], R], *, keep: timedelta | float = _RETENTION) -> R:
        """Make a call to another service once, and return its result now and in later calls with the same key.

        A recorded result is returned without a call. If this process dies between the call and its record, the call is
        made again with the same token: a service that supports idempotency keys then acts once.

        Args:
            key: The application's name for the call, unique in the application, such as "charge:order_17".
            call: Called with the token, which depends only on the key and the deployment's secret. Returns a value that
                JSON can hold.
            keep: How long the result is kept, as a timedelta or seconds.

        Raises:
            CallInProgressError: Another caller makes the call now, or its process died less than a minute ago.
            ReturnsValidationError: The call was made, now or before, and JSON cannot hold its result.
            ArgumentRangeError: The key is not a text of 1 to 1000 characters.
            Exception: The exception of the call, of which nothing is recorded.
        """
        result: R = self._calls.once(key, call, keep)
        return result

    @overload
    def run_query(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_query(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query on a new snapshot, and return its value; see `QueryCtx.run_query`."""
        return self._calls.query(function, args, kwargs)

    @overload
    def run_mutation(self, function: MutationFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation in a new transaction, and return its value after the commit; see `MutationCtx`."""
        return self._calls.mutation(function, args, kwargs)

    @overload
    def run_action(self, function: ActionFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_action(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action, and return its value.

        Args:
            function: The action, or its name such as "reports:render".
            args: The action's arguments.
            kwargs: The action's arguments.

        Raises:
            FunctionNotFoundError: There is no function of that name.
            FunctionCallError: The function is not an action, or functions call each other more than eight deep.
            ArgumentValidationError: The arguments do not match.
            ReturnsValidationError: The value does not match.
        """
        return self._calls.action(function, args, kwargs)


explain_missing(ActionCtx, "ctx", _ACTION_HINTS)
