"""Mistakes in the call of a function."""

from __future__ import annotations

from flask_convex_http.errors.base import ClientValueError, ConvexHTTPError


class ArgumentValidationError(ConvexHTTPError):
    """An argument of a call does not match its annotation: a mistake of the calling code."""


class ArgumentRangeError(ClientValueError, ArgumentValidationError):
    """An argument has the right type, and its value is not an accepted one.

    It is beyond a bound, not one of the choices, or not an id of the table. Such values come from clients.
    """


class ReturnsValidationError(ConvexHTTPError):
    """A returned value does not match its annotation."""


class FunctionLimitError(ConvexHTTPError):
    """A function reads or returns more bytes than the deployment allows."""


class FunctionNotFoundError(ConvexHTTPError):
    """No function has this name."""


class FunctionCallError(ConvexHTTPError):
    """A function was called in a way that its kind does not allow."""


class SchedulingError(ConvexHTTPError):
    """A function was scheduled in a way that cannot work."""


class CallInProgressError(ConvexHTTPError):
    """`ctx.once` found the same call in progress elsewhere."""

    status = 409
    public = True
    retry_after = 5
