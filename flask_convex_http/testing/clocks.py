"""Clocks that stand still in a test, until they are moved."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from flask import Flask

from flask_convex_http.backend import Backend
from flask_convex_http.testing.backends import backend_behind


class Clock:
    """A clock that stands still until it is moved. Pass it as `clock=` to a backend or an extension.

    Args:
        now: The time at which it starts, an aware datetime. The default is the current time.

    Raises:
        ValueError: The datetime is naive.
    """

    def __init__(self, now: datetime | None = None) -> None:
        if now is not None and now.tzinfo is None:
            raise ValueError(f"Clock({now!r}) needs a time zone: write datetime(2027, 1, 1, tzinfo=UTC)")
        self._now = time.time() * 1000 if now is None else now.timestamp() * 1000

    def __call__(self) -> float:
        """Return the time in milliseconds since the epoch."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock forward, or back by a negative duration."""
        self._now += by.total_seconds() * 1000

    def advance_to(self, time: float) -> None:
        """Move the clock forward to a time in milliseconds since the epoch. A later clock stays as it is."""
        self._now = max(self._now, time)


def use_clock(target: Backend | Flask, clock: Clock | None = None) -> Clock:
    """Let a backend, or an app with one, use a `Clock` from now on, and return it.

    This works at any time, so also for an app that a module has created.

    Args:
        target: A backend, or an app with one.
        clock: The clock. By default the one that the backend uses already, or a new one that starts now.
    """
    backend = backend_behind(target)
    source = backend.clock.source
    chosen = clock or (source if isinstance(source, Clock) else Clock())
    backend.clock.source = chosen
    return chosen
