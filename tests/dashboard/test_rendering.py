"""Values as the dashboard shows them."""

import pytest

from flask_convex_http.dashboard.rendering import interval


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (50, "every 0.05 s"),
        (90_000, "every 90 s"),
        (60_000, "every 1 min"),
        (5_400_000, "every 90 min"),
        (86_400_000, "every 24 h"),
        (2 * 86_400_000, "every 2 days"),
        (1_234_567_891, "every 1234567.891 s"),
    ],
)
def test_an_interval_is_exact(milliseconds: int, text: str) -> None:
    """The interval of a cron is shown in the largest unit that it is a whole number of."""
    assert interval(milliseconds) == text
