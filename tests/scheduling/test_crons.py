"""`Crons`: the schedule that each method makes, and values that are rejected."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flask_convex_http import (
    ActionCtx,
    MutationCtx,
    QueryCtx,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.errors import RegistrationError
from flask_convex_http.scheduling import Crons
from flask_convex_http.testing import memory_backend

BERLIN = ZoneInfo("Europe/Berlin")


@internal_mutation
def sweep(ctx: MutationCtx, *, limit: int = 10) -> None: ...


@internal_action
def send(ctx: ActionCtx, *, to: str) -> None: ...


@internal_query
def look(ctx: QueryCtx) -> int:
    return 0


def lines(crons: Crons) -> dict[str, str]:
    """Return the schedules by name."""
    return {cron.name: str(cron.schedule) for cron in crons}


def test_each_method_has_its_schedule() -> None:
    """Each method makes a schedule of its arguments, in UTC."""
    crons = Crons()
    crons.interval("interval", timedelta(minutes=5), sweep)
    crons.interval("seconds", 90, sweep)
    crons.hourly("hourly", 5, sweep)
    crons.daily("daily", time(17, 30), sweep)
    crons.weekly("weekly", "sunday", time(9), sweep)
    crons.monthly("monthly", 31, time(9, 5), sweep)
    crons.cron("cron", "0 9 * * 1-5", sweep)
    assert lines(crons) == {
        "interval": "every 300 s",
        "seconds": "every 90 s",
        "hourly": "5 * * * * UTC",
        "daily": "30 17 * * * UTC",
        "weekly": "0 9 * * 0 UTC",
        "monthly": "5 9 31 * * UTC",
        "cron": "0 9 * * 1-5 UTC",
    }


@pytest.mark.parametrize("zone", ["Europe/Berlin", BERLIN])
def test_zone_of_all_crons(zone: str | ZoneInfo) -> None:
    """The zone of the crons is that of all times of day, unless a time has its own."""
    crons = Crons(zone=zone)
    crons.hourly("hourly", 5, sweep)
    crons.daily("daily", time(9), sweep)
    crons.daily("daily in New York", time(9, tzinfo=ZoneInfo("America/New_York")), sweep)
    crons.daily("daily in UTC", time(9, tzinfo=UTC), sweep)
    crons.cron("cron in UTC", "CRON_TZ=UTC 0 9 * * *", sweep)
    assert lines(crons) == {
        "hourly": "5 * * * * Europe/Berlin",
        "daily": "0 9 * * * Europe/Berlin",
        "daily in New York": "0 9 * * * America/New_York",
        "daily in UTC": "0 9 * * * UTC",
        "cron in UTC": "0 9 * * * UTC",
    }


def test_weekly_fires_on_its_day() -> None:
    """A weekly cron fires on its day of the week."""
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    crons = Crons()
    for day in days:
        crons.weekly(day, day, time(9), sweep)  # type: ignore[call-overload]  # a str is any text to mypy
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000
    fired = {cron.name: datetime.fromtimestamp(cron.schedule.first(now) / 1000, UTC) for cron in crons}
    assert {name: days[moment.weekday()] for name, moment in fired.items()} == {day: day for day in days}


def test_function_and_arguments_are_kept() -> None:
    """A cron runs a mutation, an action or a function by name, with its arguments."""
    crons = Crons()
    crons.interval("sweep", 60, sweep, limit=3)
    crons.daily("send", time(9), send, to="team")
    crons.hourly("by name", 0, "reports:send", to="team")
    assert [(cron.name, cron.function, cron.kwargs) for cron in crons] == [
        ("sweep", sweep, {"limit": 3}),
        ("send", send, {"to": "team"}),
        ("by name", "reports:send", {"to": "team"}),
    ]


def test_arguments_with_names_of_the_method() -> None:
    """Arguments of the function may have the names of the method's own parameters."""

    @internal_mutation
    def greet(ctx: MutationCtx, *, name: str, every: int, function: str) -> None: ...

    crons = Crons()
    crons.interval("greet", 60, greet, name="Ada", every=1, function="f")
    assert next(iter(crons)).kwargs == {"name": "Ada", "every": 1, "function": "f"}


def test_misspelt_arguments_are_found_by_type_checkers() -> None:
    """mypy rejects arguments that do not fit the function.

    A comment without an error would be an error itself.
    """
    crons = Crons()
    crons.interval("a", 60, sweep, limti=3)  # type: ignore[call-overload]
    crons.hourly("b", 5, sweep, limti=3)  # type: ignore[call-overload]
    crons.daily("c", time(9), send)  # type: ignore[call-overload]
    crons.weekly("d", "monday", time(9), sweep, limit="3")  # type: ignore[call-overload]
    crons.monthly("e", 1, time(9), send, to=3)  # type: ignore[call-overload]
    crons.cron("f", "0 9 * * *", send, too="team")  # type: ignore[call-overload]
    assert [cron.name for cron in crons] == list("abcdef")


# --- invalid values --------------------------------------------------------------------------------------------------

Write = Callable[[Any], None]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda crons: crons.interval("x", 0, sweep), "the interval must be from a millisecond"),
        (lambda crons: crons.interval("x", "5 minutes", sweep), "the interval must be a timedelta or seconds"),
        (lambda crons: crons.hourly("x", 60, sweep), "the minute must be an integer from 0 to 59, not 60"),
        (lambda crons: crons.hourly("x", -1, sweep), "the minute must be an integer from 0 to 59"),
        (lambda crons: crons.hourly("x", 1.5, sweep), "the minute must be an integer from 0 to 59"),
        (lambda crons: crons.hourly("x", True, sweep), "the minute must be an integer from 0 to 59"),
        (lambda crons: crons.daily("x", "09:00", sweep), "the time of day must be a datetime.time in whole minutes"),
        (lambda crons: crons.daily("x", time(9, 0, 1), sweep), "the time of day .* in whole minutes"),
        (lambda crons: crons.daily("x", time(9, 0, 0, 1), sweep), "the time of day .* in whole minutes"),
        (lambda crons: crons.daily("x", time(9, tzinfo=timezone(timedelta(hours=2))), sweep), "must be an IANA name"),
        (lambda crons: crons.weekly("x", "Mon", time(9), sweep), 'the day must be one of "sunday, monday'),
        (lambda crons: crons.weekly("x", 1, time(9), sweep), 'the day must be one of "sunday, monday'),
        (lambda crons: crons.monthly("x", 0, time(9), sweep), "the day of the month must be an integer from 1 to 31"),
        (lambda crons: crons.monthly("x", 32, time(9), sweep), "the day of the month must be an integer from 1 to 31"),
        (lambda crons: crons.cron("x", "0 9 * * 8", sweep), "0 and 7 are Sunday"),
        (lambda crons: crons.cron("x", "0 9 30 2 *", sweep), "will never match any time"),
        (lambda crons: crons.cron("x", 5, sweep), "the expression must be a text"),
        (lambda crons: crons.interval("x", 5, look), "look is a query, and its result would be lost"),
        (lambda crons: crons.interval("x", 5, print), "print is not a registered function; decorate it"),
        (lambda crons: crons.daily("x", time(9), sweep.handler), "sweep is not a registered function; decorate it"),
    ],
)
def test_invalid_values(write: Write, message: str) -> None:
    """Values that cannot work are rejected with the cron's name, and leave no cron."""
    crons = Crons()
    with pytest.raises(RegistrationError, match=f"^Cron 'x': .*{message}"):
        write(crons)
    assert list(crons) == []


@pytest.mark.parametrize("name", ["größe", "a\nb", "\x7f", "a\u200bb", 5, None])
def test_invalid_name(name: Any) -> None:
    """A name with other than printable ASCII characters is rejected."""
    with pytest.raises(RegistrationError, match="the name must be a text of printable ASCII characters"):
        Crons().interval(name, 5, sweep)


def test_duplicate_name() -> None:
    """A second cron of the same name is rejected, whichever methods made them."""
    crons = Crons()
    crons.interval("sweep", 60, sweep)
    with pytest.raises(RegistrationError, match="Cron 'sweep': there is one of this name already"):
        crons.daily("sweep", time(9), sweep)
    assert lines(crons) == {"sweep": "every 60 s"}


def test_invalid_zone() -> None:
    """A zone that does not exist is rejected by the constructor."""
    with pytest.raises(RegistrationError, match=r"Crons\(zone='Mars/Olympus'\): there is no time zone"):
        Crons(zone="Mars/Olympus")


@pytest.mark.parametrize("crons", [[Crons()], "app.crons", Crons, {}])
def test_invalid_crons(crons: Any) -> None:
    """Another value for crons= is rejected, and the error names the right type."""
    with (
        pytest.raises(RegistrationError, match=r"crons= takes a Crons\(\), not"),
        memory_backend(Schema(), crons=crons),
    ):
        pass


def test_late_cron() -> None:
    """A cron that is added after the app was set up is rejected, since it would never run."""
    crons = Crons()
    with memory_backend(Schema(), crons=crons), pytest.raises(RegistrationError, match=r"'late'.*before init_app"):
        crons.interval("late", 5, "jobs:run")
