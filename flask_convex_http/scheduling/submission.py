"""A function, its arguments and a time, checked and ready to become a job."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flask_convex_http.errors import ArgumentRangeError, FunctionCallError
from flask_convex_http.functions.function import Function
from flask_convex_http.schema.documents import Schema

#: The maximum size of one job's arguments, in bytes of JSON.
MAX_ARGUMENTS = 4 * 2**20


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
            f"limit {MAX_ARGUMENTS}; store the data and pass its id",
            "The request has more data than can be processed later",
        )
