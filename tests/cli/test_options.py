"""Numbers and times in options of commands."""

import pytest

from tests.cli.conftest import Convex

LARGE = "99999999999999999999"


@pytest.mark.parametrize(
    "command",
    [("data", "lamps"), ("log",), ("scheduled", "list"), ("idempotency", "list")],
)
@pytest.mark.parametrize("limit", [LARGE, "0", "many"])
def test_a_limit_that_is_not_accepted_says_what_to_write(convex: Convex, command: tuple[str, ...], limit: str) -> None:
    """A limit that is no number, or out of range, is wrong usage that names the option and the range."""
    refused = convex(*command, "--limit", limit)
    assert (refused.status, refused.out, refused.exception) == (2, "", None)
    assert f"Invalid value for '--limit': '{limit}' is not a whole number from 1 to 1000000." in refused.err


def test_a_duplicate_that_is_not_accepted_says_what_to_write(convex: Convex) -> None:
    """The message for a number of deliveries has the range."""
    refused = convex("webhooks", "send", "stripe", "invoice.paid", "--duplicate", "x")
    assert "'x' is not a whole number from 1 to 200." in refused.err


@pytest.mark.parametrize(
    ("since", "says"),
    [
        (LARGE, "write a number and s, m, h, d or w, such as 90s, 12h or 30d, or a date such as 2027-01-01"),
        ("9999-12-31T23:59-14:00", "is not a time"),
        ("0001-01-01T00:00+14:00", "is not a time"),
        ("999999999w", "longer than 100 years, 36525d"),
    ],
)
def test_a_time_that_is_not_accepted_says_what_to_write(convex: Convex, since: str, says: str) -> None:
    """A time that is no time, or outside the years 1 to 9999 in UTC, is wrong usage."""
    refused = convex("webhooks", "list", "--since", since)
    assert (refused.status, refused.exception) == (2, None)
    assert f"Invalid value for '--since': '{since}'" in refused.err
    assert says in refused.err
