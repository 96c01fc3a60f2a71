"""How far a signed timestamp may be from the time of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from flask_convex_http.errors import RegistrationError, VerificationError

DEFAULT_TOLERANCE = timedelta(minutes=5)

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a signed timestamp may be from the time of arrival, in milliseconds."""

    past: float
    future: float

    @classmethod
    def of(cls, tolerance: timedelta, future_tolerance: timedelta | None) -> Tolerance:
        """Return the tolerance for a provider's arguments.

        Raises:
            RegistrationError: One is not a positive timedelta.
        """
        past = _milliseconds("tolerance", tolerance)
        return cls(past, past if future_tolerance is None else _milliseconds("future_tolerance", future_tolerance))

    @property
    def window(self) -> timedelta:
        """How long one delivery is accepted."""
        return (self.past + self.future) * _MILLISECOND

    def check(self, timestamp: float, now: float) -> None:
        """Check a signed timestamp.

        Args:
            timestamp: The timestamp in seconds since the epoch.
            now: When it was received, in milliseconds since the epoch.

        Raises:
            VerificationError: It is too old or too new.
        """
        age = now - timestamp * 1000
        # Written as "not within", so that an age that is not a number is rejected too.
        if not age <= self.past:
            raise VerificationError("too-old", "Webhook timestamp is too old")
        if not -age <= self.future:
            raise VerificationError("too-new", "Webhook timestamp is too far in the future")


def _milliseconds(name: str, tolerance: timedelta) -> float:
    if not isinstance(tolerance, timedelta):
        raise RegistrationError(
            f"{name} must be a timedelta such as timedelta(minutes=5), not {type(tolerance).__name__}"
        )
    if tolerance <= timedelta(0):
        raise RegistrationError(f"{name} must be more than zero, for example timedelta(minutes=5)")
    return tolerance / _MILLISECOND
