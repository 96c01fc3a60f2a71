"""The arguments of `ConvexHTTP` that switch a feature on: True, or an object with its options."""

from __future__ import annotations

from typing import Any, TypeVar

from flask_convex_http.errors import RegistrationError

T = TypeVar("T")


def checked_options(name: str, given: Any, options: type[T], example: str) -> T | None:
    """Return the options for an argument, or None if its feature is off.

    Args:
        name: The name of the argument, such as "health".
        given: The argument: True, False, None, or the options.
        options: The class of the options, which has a default for each of them.
        example: What to write, for the error.

    Raises:
        RegistrationError: It is neither a boolean nor the options.
    """
    if isinstance(given, bool) or given is None:
        return options() if given else None
    if not isinstance(given, options):
        raise RegistrationError(f"{name}={given!r} must be True or {example}")
    return given


def checked_switch(name: str, given: Any) -> bool:
    """Return whether an argument switches its feature on.

    Args:
        name: The name of the argument, such as "metrics".
        given: The argument: True or False.

    Raises:
        RegistrationError: It is anything else.
    """
    if not isinstance(given, bool):
        raise RegistrationError(f"{name}={given!r} must be True or False")
    return given
