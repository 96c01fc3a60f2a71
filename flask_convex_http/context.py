"""The ctx a function is given: what a query, a mutation and an action can reach.

A ctx holds no logic of its own. How a function is run from it is `runtime`'s work, which comes in as `Calls`.
"""

from __future__ import annotations

from typing import Any, ParamSpec, Protocol, TypeVar, overload

from flask_convex_http.database import DatabaseReader, DatabaseWriter
from flask_convex_http.functions import Action, Function, Mutation, Query
from flask_convex_http.identity import UserIdentity
from flask_convex_http.storage import StorageActions, StorageReader, StorageWriter

P = ParamSpec("P")
R = TypeVar("R")


class Calls(Protocol):
    """Runs functions on behalf of a ctx."""

    def query(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def mutation(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def action(self, function: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def storage(self) -> Any: ...


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


class MutationCtx(QueryCtx):
    """What a mutation can reach: one transaction, all of which commits or nothing.

    Attributes:
        db: The documents, to read and write.
        auth: Who is calling.
        now: The time the transaction started, in milliseconds since the epoch; it does not move.
    """

    __slots__ = ()
    db: DatabaseWriter

    @property
    def storage(self) -> StorageWriter:
        """URLs and metadata of files, uploads and deletion."""
        files: StorageWriter = self._calls.storage()
        return files

    @overload
    def run_mutation(self, function: Mutation[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation as a part of this one. If it raises and you catch that, only its own writes are undone."""
        return self._calls.mutation(function, args, kwargs)


class ActionCtx:
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
