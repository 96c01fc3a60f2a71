"""Describe functions: their arguments and results as source code would write them."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from flask_convex_http.functions.function import Function, Kind
from flask_convex_http.validation.annotations import describe


class ArgumentDescription(msgspec.Struct, frozen=True):
    """An argument of a function.

    Attributes:
        name: The argument's name.
        type: Its annotation as source code.
        required: Whether it has no default.
        default: Its default as source code, which need not be a JSON value. Unset if it has none.
    """

    name: str
    type: str
    required: bool
    default: str | UnsetType = UNSET


class FunctionDescription(msgspec.Struct, frozen=True):
    """A function of the application.

    Attributes:
        name: The function's name, such as "items:create".
        kind: "query", "mutation" or "action".
        public: Whether clients may call it.
        arguments: Its arguments in order.
        returns: The annotation of its result as source code.
        description: Its docstring.
    """

    name: str
    kind: Kind
    public: bool
    arguments: list[ArgumentDescription]
    returns: str
    description: str | None


def describe_function(function: Function[Any, Any]) -> FunctionDescription:
    """Return the description of a function."""
    arguments = [
        _describe_argument(function.parameters[name], annotation)
        for name, annotation in function.argument_types.items()
    ]
    returns = function.result_type
    return FunctionDescription(
        function.name, function.kind, function.public, arguments, describe(returns), inspect.getdoc(function.handler)
    )


def _describe_argument(parameter: inspect.Parameter, annotation: Any) -> ArgumentDescription:
    type_name = describe(annotation)
    if parameter.default is parameter.empty:
        return ArgumentDescription(parameter.name, type_name, required=True)
    return ArgumentDescription(parameter.name, type_name, required=False, default=repr(parameter.default))
