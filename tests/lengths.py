"""How much of the suite runs: a sample by default, and with `--long` what that leaves out.

`make test` runs all tests but the LONG ones. `make test-long` runs those, and the SAMPLED ones once more, with larger
numbers. For each LONG test there is one in `make test` that shows the same promise in a short time.
"""

import os

import pytest

#: A test that only `make test-long` runs.
LONG = pytest.mark.long
#: A test whose numbers come from `repetitions` or `examples`. Both commands run it.
SAMPLED = pytest.mark.sampled

_is_long = False


def choose(*, is_long: bool) -> None:
    """Choose the length of this run, before the modules of tests are imported."""
    global _is_long
    _is_long = is_long


def repetitions(variable: str, *, sample: int, whole: int) -> int:
    """Return how often a test repeats something in a run of this length, or what an environment variable says."""
    return int(os.environ.get(variable) or (whole if _is_long else sample))


def examples(whole: int, *, sample: int | None = None) -> int:
    """Return the number of examples of a property: all, or by default a fifth of them in a sample."""
    return whole if _is_long else sample or whole // 5


def is_chosen(item: pytest.Item) -> bool:
    """Tell whether a test belongs to this run."""
    if _is_long:
        return _is_left_out(item) or item.get_closest_marker("sampled") is not None
    return not _is_left_out(item)


def _is_left_out(item: pytest.Item) -> bool:
    """Tell whether `make test` leaves a test out, always or on the engine whose turn it is."""
    call = getattr(item, "callspec", None)
    engine = call.params.get("each_engine") if call else None
    return any(mark.kwargs.get("engine") in (None, engine) for mark in item.iter_markers("long"))
