"""The decorators of a router for one method each: `get`, `post`, `put`, `patch`, `delete` and `options`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, TypeVar, Unpack, overload

from flask import Blueprint

from flask_convex_http.runtime import MutationCtx
from flask_convex_http.web.idempotent import OneMutation
from flask_convex_http.web.routing.routes import IdempotentOptions, RouteOptions

H = TypeVar("H", bound=Callable[..., Any])
#: A handler that runs as one mutation.
M = TypeVar("M", bound=Callable[Concatenate[MutationCtx, ...], Any])


class HttpMethods(Blueprint):
    """A blueprint whose `route` is that of `HttpRouter`, with the method as the name of a decorator."""

    def get(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]:  # type: ignore[override]
        """Register a handler for GET (and HEAD); see `route`."""
        return self._for_method("GET", rule, options)

    @overload  # type: ignore[override]
    def post(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    @overload
    def post(
        self, rule: str | None = None, *, idempotent: OneMutation, **options: Unpack[IdempotentOptions]
    ) -> Callable[[M], M]: ...
    def post(self, rule: str | None = None, **options: Any) -> Callable[[H], H]:
        """Register a handler for POST; see `route`."""
        return self._for_method("POST", rule, options)

    @overload  # type: ignore[override]
    def put(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    @overload
    def put(
        self, rule: str | None = None, *, idempotent: OneMutation, **options: Unpack[IdempotentOptions]
    ) -> Callable[[M], M]: ...
    def put(self, rule: str | None = None, **options: Any) -> Callable[[H], H]:
        """Register a handler for PUT; see `route`."""
        return self._for_method("PUT", rule, options)

    @overload  # type: ignore[override]
    def patch(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    @overload
    def patch(
        self, rule: str | None = None, *, idempotent: OneMutation, **options: Unpack[IdempotentOptions]
    ) -> Callable[[M], M]: ...
    def patch(self, rule: str | None = None, **options: Any) -> Callable[[H], H]:
        """Register a handler for PATCH; see `route`."""
        return self._for_method("PATCH", rule, options)

    @overload  # type: ignore[override]
    def delete(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    @overload
    def delete(
        self, rule: str | None = None, *, idempotent: OneMutation, **options: Unpack[IdempotentOptions]
    ) -> Callable[[M], M]: ...
    def delete(self, rule: str | None = None, **options: Any) -> Callable[[H], H]:
        """Register a handler for DELETE; see `route`."""
        return self._for_method("DELETE", rule, options)

    def options(self, rule: str | None = None, **options: Unpack[RouteOptions]) -> Callable[[H], H]:
        """Register a handler for OPTIONS, which replaces the preflight of `cors=`; see `route`."""
        return self._for_method("OPTIONS", rule, options)

    def _for_method(self, method: str, rule: str | None, options: Any) -> Callable[[Any], Any]:
        return self.route(rule, method=method, **options)  # type: ignore[arg-type]  # the router's takes None
