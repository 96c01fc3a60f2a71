"""The signature of a handler: the ctx, the request, and the parameters that are passed by name.

A handler may leave out the ctx, the request or both. They come first, and are recognized by name (`ctx`, `request`) or
by annotation. Two leading parameters without an annotation are the ctx and the request under any name.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from werkzeug.wrappers import Request

from flask_convex_http.errors import RegistrationError

#: Parameters that are read from the request, unless the path has a variable of the name.
BODY, QUERY, FORM = "body", "query", "form"
READ = (BODY, QUERY, FORM)
#: The attribute of a wrapper of this package, which is the wrapper itself. `functools.wraps` copies attributes outward.
OWN_WRAPPER = "__convex_wrapper__"

_CONTEXTS = frozenset({"ActionCtx", "MutationCtx", "QueryCtx"})
#: A webhook's handler takes an event in the place of the request.
_REQUESTS = frozenset({"Request", "WebhookEvent"})
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class HandlerSignature:
    """The parameters of a handler.

    Attributes:
        name: The name of the handler, for messages.
        function: The function inside all decorators that use `functools.wraps`.
        takes_ctx: Whether its first argument is the ctx.
        takes_request: Whether the next argument is the request.
        named: The other parameters, by name.
        takes_any: Whether it takes any other argument by name.
        is_wrapped: Whether a decorator of the application may pass further arguments.
        returns: The annotation of its return value as written, or `inspect.Signature.empty`.
    """

    name: str
    function: Callable[..., Any]
    takes_ctx: bool
    takes_request: bool
    named: dict[str, inspect.Parameter]
    takes_any: bool
    is_wrapped: bool
    returns: Any

    @classmethod
    def of(cls, handler: Callable[..., Any]) -> HandlerSignature:
        """Return the signature of a handler.

        Raises:
            RegistrationError: It is no function, or a parameter is at the wrong place.
        """
        name = str(getattr(handler, "__name__", repr(handler)))
        if not callable(handler) or isinstance(handler, type):
            raise RegistrationError(
                f"{name} is no handler; write a function: def get_item(ctx: ActionCtx, request: Request)"
            )
        function = inspect.unwrap(handler)
        try:
            signature = inspect.signature(handler)
        except (TypeError, ValueError):  # a built-in function, for example
            return cls(name, function, True, True, {}, True, True, inspect.Signature.empty)
        parameters = list(signature.parameters.values())
        takes_ctx, takes_request = _leading(function, name, parameters)
        rest = [p for p in parameters if p.kind not in _VARIADIC]
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters[: takes_ctx + takes_request]):
            rest = rest[takes_ctx + takes_request :]
        _check_rest(name, parameters, rest)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = {p.name: p for p in rest}
        return cls(
            name,
            function,
            takes_ctx,
            takes_request,
            named,
            takes_any,
            _is_wrapped(handler),
            signature.return_annotation,
        )

    def around(self, handler: Callable[..., Any]) -> HandlerSignature:
        """Return this signature for a handler with more decorators."""
        return replace(self, is_wrapped=self.is_wrapped or _is_wrapped(handler))

    @property
    def read(self) -> tuple[str, ...]:
        """The names of the parameters that are read from the request, unless the path has them."""
        return tuple(name for name in READ if name in self.named)

    def hint(self, name: str) -> Any:
        """Return the annotation of a parameter, or Any without one.

        Raises:
            NameError: The annotation names something that is not defined yet.
        """
        annotation = self.named[name].annotation
        return Any if annotation is inspect.Parameter.empty else resolve_hint(self.function, annotation)

    def return_hint(self) -> Any:
        """Return the annotation of the return value. Any without one, or if it cannot be read at run time."""
        if self.returns is inspect.Signature.empty:
            return Any
        try:
            return resolve_hint(self.function, self.returns)
        except Exception:  # of any code in a text: the annotation may be for type checkers only
            return Any

    def suggestion(self, *more: str) -> str:
        """Return the line to write, for messages.

        Args:
            more: Parameters to add.
        """
        own = [_written(p) for p in self.named.values()]
        return f"def {self.name}({', '.join(['ctx: ActionCtx', 'request: Request', *own, *more])})"


def resolve_hint(function: Callable[..., Any], annotation: Any) -> Any:
    """Return an annotation of a function with the texts in it evaluated.

    Raises:
        NameError: It names something that is not defined yet.
    """
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, _globals_of(function), include_extras=True)["it"]


def own_wrapper(wrapper: Callable[..., Any]) -> None:
    """Mark a wrapper as one of this package, which passes all arguments on and adds none."""
    setattr(wrapper, OWN_WRAPPER, wrapper)


def _globals_of(function: Any) -> dict[str, Any]:
    function = getattr(function, "func", function)  # of a functools.partial
    function = getattr(function, "__func__", function)  # of a method
    if not hasattr(function, "__globals__"):  # an instance of a class with __call__
        function = inspect.unwrap(getattr(type(function), "__call__"))  # noqa: B004, B009  # the function itself
    return getattr(function, "__globals__", {})


def _is_wrapped(handler: Any) -> bool:
    """Return whether a decorator of the application wraps a handler."""
    while hasattr(handler, "__wrapped__"):
        if getattr(handler, OWN_WRAPPER, None) is not handler:
            return True
        handler = vars(handler)["__wrapped__"]
    return False


# --- the ctx and the request ------------------------------------------------------------------------------------------


def _leading(function: Any, name: str, parameters: list[inspect.Parameter]) -> tuple[bool, bool]:
    """Return whether a handler takes the ctx, and whether it takes the request.

    Raises:
        RegistrationError: One of them is not at its place.
    """
    kinds = [_kind(function, parameter) for parameter in parameters[:2]]
    first, second = (*kinds, "", "")[:2]
    if first == "any":
        return True, True
    if first == "ctx" or (first == "free" and second in ("request", "free", "any")):
        takes = True, second in ("request", "free", "any")
    else:
        takes = False, first == "request"
    for parameter in parameters[sum(takes) :]:
        if parameter.name in ("ctx", "request") or (
            parameter.kind not in _VARIADIC and _kind(function, parameter) in ("ctx", "request")
        ):
            rest = [_written(p) for p in parameters if p.name not in ("ctx", "request")]
            raise RegistrationError(
                f"{name} must take the ctx and the request first, in this order; write "
                f"def {name}({', '.join(['ctx: ActionCtx', 'request: Request', *rest])})"
            )
    return takes


def _kind(function: Any, parameter: inspect.Parameter) -> str:
    """Return the kind of a parameter: "ctx", "request", "value", "any" for *args, or "free" if nothing says it."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "any"
    if parameter.kind not in _BY_PLACE:
        return "value"
    if parameter.name in ("ctx", "request"):
        return parameter.name
    if parameter.name in (*READ, "suffix") or parameter.default is not parameter.empty:
        return "value"
    if parameter.annotation is parameter.empty:
        return "free"
    try:
        annotation = resolve_hint(function, parameter.annotation)
    except Exception:  # of any code in a text: the annotation may be for type checkers only
        return _kind_of_name(str(parameter.annotation).rpartition(".")[2])
    return _kind_of_class(annotation) if isinstance(annotation, type) else _kind_of_hint(annotation)


def _kind_of_name(name: str) -> str:
    if name in _CONTEXTS:
        return "ctx"
    return "request" if name in _REQUESTS else "free"


def _kind_of_class(annotation: type) -> str:
    if any(base.__name__ in _CONTEXTS for base in annotation.__mro__):
        return "ctx"
    if issubclass(annotation, Request) or annotation.__name__ in _REQUESTS:
        return "request"
    return _kind_of_hint(annotation)


def _kind_of_hint(annotation: Any) -> str:
    """Return "value" for the type of a value, and "free" for Any and for classes of the application."""
    try:
        described = msgspec.inspect.type_info(annotation)
    except (TypeError, ValueError, NameError, RecursionError):
        return "value"
    return "free" if isinstance(described, msgspec.inspect.AnyType | msgspec.inspect.CustomType) else "value"


def _check_rest(name: str, parameters: list[inspect.Parameter], rest: list[inspect.Parameter]) -> None:
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    for parameter in rest:
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise RegistrationError(
                f"{name} takes {parameter.name} by position only, and a route passes it by name; remove the / after it"
            )


def _written(parameter: inspect.Parameter) -> str:
    """Return a parameter as source code would write it, as far as that is short."""
    return (
        str(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        if parameter.kind not in _VARIADIC
        else str(parameter)
    )
