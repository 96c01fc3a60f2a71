"""Call a handler as a function of the ctx, the request and the variables of its path.

The route and the guards call handlers in this form alone. A handler that leaves out the ctx or the request, or that
takes a body, a query or a form, gets an adapter. The innermost guard makes it, so that a request is read after all
guards have let it pass. A handler that takes `(ctx, request)` and variables is called as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from flask import Request

from flask_convex_http.web.handlers.readers import Read
from flask_convex_http.web.handlers.signatures import HandlerSignature, own_wrapper

#: The attributes of an adapter. `functools.wraps` copies them to the decorators outside of it.
_SIGNATURE = "__convex_handler_signature__"
_READERS = "__convex_readers__"

Readers = dict[str, Read]


def uniform(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler that is called with `(ctx, request, **variables)`.

    Raises:
        RegistrationError: The parameters are in the wrong order.
    """
    if hasattr(handler, _SIGNATURE):  # a guard around an adapter
        return handler
    signature = HandlerSignature.of(handler)
    if signature.takes_ctx and signature.takes_request and not signature.read:
        return handler
    return _adapter(handler, signature)


def signature_of(handler: Callable[..., Any]) -> HandlerSignature:
    """Return the signature of a handler as the application wrote it."""
    known: HandlerSignature | None = getattr(handler, _SIGNATURE, None)
    return HandlerSignature.of(handler) if known is None else known.around(handler)


def readers_of(handler: Callable[..., Any]) -> Readers:
    """Return the readers that a handler's adapter calls, by the name of the parameter. A route adds them."""
    readers: Readers = getattr(handler, _READERS, {})
    return readers


def read_parameters(handler: Callable[..., Any], request: Request, values: dict[str, Any]) -> None:
    """Read the parameters of a handler from a request, beside the variables of its path, which are in `values`.

    The handler's adapter does so by itself. This is for code that runs between the two.

    Raises:
        RequestError: The request does not match.
    """
    for name, read in readers_of(handler).items():
        if name not in values:  # a variable of the path, on another route
            values[name] = read(request)


def _adapter(handler: Callable[..., Any], signature: HandlerSignature) -> Callable[..., Any]:
    readers: Readers = {}
    adapter = (
        _async(handler, signature, readers)
        if inspect.iscoroutinefunction(handler)
        else _sync(handler, signature, readers)
    )
    adapter = functools.wraps(handler)(adapter)
    named = [p.replace(kind=p.KEYWORD_ONLY) for name, p in signature.named.items() if name not in signature.read]
    leading = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("ctx", "request")]
    adapter.__dict__["__signature__"] = inspect.Signature([*leading, *named])
    adapter.__dict__[_SIGNATURE] = signature
    adapter.__dict__[_READERS] = readers
    own_wrapper(adapter)
    return adapter


def _sync(handler: Callable[..., Any], signature: HandlerSignature, readers: Readers) -> Callable[..., Any]:
    takes_ctx, takes_request = signature.takes_ctx, signature.takes_request
    takes_both = takes_ctx and takes_request

    def adapter(ctx: Any, request: Any, /, *args: Any, **values: Any) -> Any:
        for name, read in readers.items():
            if name not in values:  # a variable of the path, or read before
                values[name] = read(request)
        if takes_both:
            return handler(ctx, request, *args, **values)
        return handler(*_leading(takes_ctx, ctx, takes_request, request), *args, **values)

    return adapter


def _async(handler: Callable[..., Any], signature: HandlerSignature, readers: Readers) -> Callable[..., Any]:
    call = _sync(handler, signature, readers)

    async def adapter(ctx: Any, request: Any, /, *args: Any, **values: Any) -> Any:
        return await call(ctx, request, *args, **values)

    return adapter


def _leading(takes_ctx: bool, ctx: Any, takes_request: bool, request: Any) -> tuple[Any, ...]:
    return ((ctx,) if takes_ctx else ()) + ((request,) if takes_request else ())
