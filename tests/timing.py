"""Comparisons of durations, on machines that are busy with other things."""

from collections.abc import Callable

#: Measurements of something that is slow each time if it is wrong, but on a busy machine only now and then.
_TRIES = 5


def is_below(seconds: float, measure: Callable[[], float]) -> bool:
    """Return whether something takes less than some seconds in one of several measurements."""
    return any(measure() < seconds for _ in range(_TRIES))


def is_above(seconds: float, measure: Callable[[], float]) -> bool:
    """Return whether something takes more than some seconds in one of several measurements."""
    return any(measure() > seconds for _ in range(_TRIES))
