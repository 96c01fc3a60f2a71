"""A function, its arguments and a time, checked and ready to become a job."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from flask_convex_http.errors import ArgumentRangeError, FunctionCallError
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.documents import Schema

#: The maximum size of one job's arguments, in bytes of JSON.
MAX_ARGUMENTS = 4 * 2**20
#: The maximum nesting of arrays and objects in arguments, as in Convex. JSON parsers recurse, so a row that is nested
#: deeper could be written but not read, and would stop the workers.
MAX_NESTING = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[][{}]")


class Submission(msgspec.Struct, frozen=True):  # a dataclass takes five times as long to make
    """A job before it has a row.

    Attributes:
        name: The function's name.
        kind: The function's kind.
        arguments: The function's arguments as JSON.
        when: The time to run it, in milliseconds since the epoch.
    """

    name: str
    kind: Literal["mutation", "action"]
    arguments: bytes
    when: float

    @classmethod
    def of(
        cls, function: Function[Any, Any], schema: Schema, when: float, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Submission:
        """Check a function and its arguments.

        Raises:
            FunctionCallError: The value is not a mutation or an action.
            ArgumentValidationError: The arguments do not match, or JSON cannot hold them.
        """
        if not isinstance(function, Function):
            raise FunctionCallError(
                f"{getattr(function, '__name__', repr(function))} is not a registered function; decorate it with "
                "@internal_mutation or @internal_action"
            )
        if function.kind == "query":
            raise FunctionCallError(f"{function.name} is a query, and its result would be lost; schedule a mutation")
        function.bind(schema)
        arguments = function.arguments_as_json(args, kwargs)
        _check_size(function.name, arguments)
        return cls(function.name, function.kind, arguments, when)


def _check_size(name: str, arguments: bytes) -> None:
    if len(arguments) > MAX_ARGUMENTS:
        raise ArgumentRangeError(
            f"{name}: the arguments are too large to be scheduled: {len(arguments)} bytes, "
            f"limit {MAX_ARGUMENTS}; store the data and pass its id"
        )
    if _nesting(arguments) > 1 + MAX_NESTING:  # the arguments themselves are an object
        raise ArgumentRangeError(
            f"{name}: the arguments are nested more than {MAX_NESTING} deep, and cannot be scheduled"
        )


def _nesting(text: bytes) -> int:
    """Return how deep a JSON text is nested, or 0 if it has too few brackets to exceed the limit."""
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
