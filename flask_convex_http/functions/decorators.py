"""The decorators that make queries, mutations and actions of Python functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from flask_convex_http.functions.function import ActionFunction, MutationFunction, QueryFunction
from flask_convex_http.retry import Retry

if TYPE_CHECKING:
    from flask_convex_http.runtime import ActionCtx, MutationCtx, QueryCtx

P = ParamSpec("P")
R = TypeVar("R")


def query(handler: Callable[Concatenate[QueryCtx, P], R]) -> QueryFunction[P, R]:
    """Register a public query: it reads one snapshot, and clients may call it over the function API."""
    return QueryFunction(handler, public=True)


def mutation(handler: Callable[Concatenate[MutationCtx, P], R]) -> MutationFunction[P, R]:
    """Register a public mutation: it is one transaction, and clients may call it over the function API."""
    return MutationFunction(handler, public=True)


@overload
def action(handler: Callable[Concatenate[ActionCtx, P], R], /) -> ActionFunction[P, R]: ...
@overload
def action(
    *, retry: Retry | None = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], ActionFunction[P, R]]: ...
@overload
def action(
    *, retry: Retry | None = None, on_failure: MutationFunction[Concatenate[str, P], Any]
) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], ActionFunction[P, R]]: ...
def action(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    retry: Retry | None = None,
    on_failure: MutationFunction[..., Any] | None = None,
) -> Any:
    """Register a public action: it is not a transaction, and clients may call it over the function API.

    Args:
        handler: The function.
        retry: How a scheduled run is retried after a failure. Without it, a scheduled run happens at most once.
        on_failure: A mutation that runs when a scheduled run has failed for good, in the commit that records this. Its
            first argument is the error as a text, the others are those of the action.

    Raises:
        RegistrationError: The function, `retry` or `on_failure` cannot work.
    """
    return _action(handler, public=True, retry=retry, on_failure=on_failure)


def internal_query(handler: Callable[Concatenate[QueryCtx, P], R]) -> QueryFunction[P, R]:
    """Register an internal query, which only your own code can call."""
    return QueryFunction(handler, public=False)


def internal_mutation(handler: Callable[Concatenate[MutationCtx, P], R]) -> MutationFunction[P, R]:
    """Register an internal mutation, which only your own code can call."""
    return MutationFunction(handler, public=False)


@overload
def internal_action(handler: Callable[Concatenate[ActionCtx, P], R], /) -> ActionFunction[P, R]: ...
@overload
def internal_action(
    *, retry: Retry | None = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], ActionFunction[P, R]]: ...
@overload
def internal_action(
    *, retry: Retry | None = None, on_failure: MutationFunction[Concatenate[str, P], Any]
) -> Callable[[Callable[Concatenate[ActionCtx, P], R]], ActionFunction[P, R]]: ...
def internal_action(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    retry: Retry | None = None,
    on_failure: MutationFunction[..., Any] | None = None,
) -> Any:
    """Register an internal action, which only your own code can call.

    Args:
        handler: The function.
        retry: How a scheduled run is retried after a failure. Without it, a scheduled run happens at most once.
        on_failure: A mutation that runs when a scheduled run has failed for good, in the commit that records this. Its
            first argument is the error as a text, the others are those of the action.

    Raises:
        RegistrationError: The function, `retry` or `on_failure` cannot work.
    """
    return _action(handler, public=False, retry=retry, on_failure=on_failure)


def _action(handler: Callable[..., Any] | None, **options: Any) -> Any:
    return functools.partial(ActionFunction, **options) if handler is None else ActionFunction(handler, **options)
