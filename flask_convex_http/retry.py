"""`Retry`: how many attempts a scheduled action has, and how long it waits between them.

Workers apply it (`worker/action_runner.py`), and the inbox does for webhooks with mode="enqueue".
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from flask_convex_http.durations import seconds_of
from flask_convex_http.errors import RegistrationError

_MAX_ATTEMPTS = 100
_MAX_DELAY = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry policy: run a scheduled action again when it fails or its worker dies.

    The action then runs at least once, instead of at most once.

    Attributes:
        max_attempts: The maximum number of attempts, including the first, from 2 to 100.
        backoff: The delay before the second attempt, a timedelta or seconds. It doubles before each further attempt.
        max_backoff: The longest delay, a timedelta or seconds. A random part of up to a quarter is added to each delay
            or taken from it, so that actions that failed together do not run together again.

    Raises:
        RegistrationError: A value is out of range.
    """

    max_attempts: int = 5
    backoff: timedelta | float = 1.0
    max_backoff: timedelta | float = 3600.0

    def __post_init__(self) -> None:
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 2 <= attempts <= _MAX_ATTEMPTS:
            raise RegistrationError(f"Retry(max_attempts={attempts!r}) must be a number from 2 to {_MAX_ATTEMPTS}")
        for name in ("backoff", "max_backoff"):
            value = getattr(self, name)
            if not 0 <= seconds_of(value) <= _MAX_DELAY.total_seconds():
                raise RegistrationError(
                    f"Retry({name}={value!r}) must be a timedelta or seconds, from 0 to {_MAX_DELAY.days} days"
                )

    def delay(self, attempt: int) -> float:
        """Return the milliseconds between the end of an attempt and the next one.

        Args:
            attempt: The number of the attempt that has ended, from 1.
        """
        doublings = min(attempt - 1, _MAX_ATTEMPTS)  # an operator may run a job again, and the count goes on
        wait = min(seconds_of(self.backoff) * 2.0**doublings, seconds_of(self.max_backoff))
        return wait * random.uniform(0.75, 1.25) * 1000
