"""`Retry`: how often a scheduled action is tried, and how long it waits in between.

Who tries it again, and when it has failed for good, is `running`'s business.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import RegistrationError

_MOST_ATTEMPTS = 100
_LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Run a scheduled action again when it fails or its worker dies: at least once, instead of at most once.

    Attributes:
        max_attempts: How often it is run at most, the first time included; 2 to 100.
        backoff: How long it waits before the second attempt, a timedelta or seconds; twice as long before each next.
        max_backoff: The longest wait, a timedelta or seconds. Each wait is up to a quarter shorter or longer.

    Raises:
        RegistrationError: A value cannot work.
    """

    max_attempts: int = 5
    backoff: timedelta | float = 1.0
    max_backoff: timedelta | float = 3600.0

    def __post_init__(self) -> None:
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 2 <= attempts <= _MOST_ATTEMPTS:
            raise RegistrationError(f"Retry(max_attempts={attempts!r}) must be a number from 2 to {_MOST_ATTEMPTS}")
        for name in ("backoff", "max_backoff"):
            value = getattr(self, name)
            if not 0 <= seconds_of(value) <= _LONGEST.total_seconds():
                raise RegistrationError(
                    f"Retry({name}={value!r}) must be a timedelta or seconds, from 0 to {_LONGEST.days} days"
                )

    def delay(self, attempt: int) -> float:
        """Milliseconds from the end of an attempt to the next one; spread, so that what failed together comes apart.

        Args:
            attempt: Which attempt has ended, from 1.
        """
        doublings = min(attempt - 1, _MOST_ATTEMPTS)  # those of a job that was run again by hand go on counting
        wait = min(seconds_of(self.backoff) * 2.0**doublings, seconds_of(self.max_backoff))
        return wait * random.uniform(0.75, 1.25) * 1000
