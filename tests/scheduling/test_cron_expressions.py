"""Schedules: their ticks in UTC and where clocks change, and invalid ones."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http.errors import RegistrationError
from flask_convex_http.scheduling.cron_expressions import MAX_COUNTED_TICKS, CronExpression, Interval, Schedule, zone_of
from tests.lengths import SAMPLED, examples

MINUTE = 60_000.0
DAY = 24 * 60 * MINUTE
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def at(text: str) -> float:
    """Return a time in ISO 8601, in UTC without an offset, in milliseconds since the epoch."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def ticks(schedule: Schedule, after: float) -> Iterator[float]:
    """Return the ticks after a time."""
    while True:
        after = schedule.next(after)
        yield after


def clock_times(schedule: Schedule, zone: ZoneInfo, start: str, count: int) -> list[str]:
    """Return the first ticks after a midnight, as the clocks of a zone show them."""
    midnight = datetime.fromisoformat(start).replace(tzinfo=zone).timestamp() * 1000
    found = [datetime.fromtimestamp(tick / 1000, zone) for tick in islice(ticks(schedule, midnight), count)]
    return [f"{moment:%m-%d %H:%M%z}" for moment in found]


# --- cases from Convex -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "now", "following"),
    [
        ("5 * * * *", "2023-03-01 08:35", "2023-03-01 09:05"),
        ("30 8 * * *", "2023-02-28 08:35", "2023-03-01 08:30"),
        ("30 12 * * 2", "2023-02-28 08:35", "2023-02-28 12:30"),
        ("30 12 1 * *", "2023-02-28 08:35", "2023-03-01 12:30"),
        ("0 12 * * 1,5", "2023-02-28 08:35", "2023-03-03 12:00"),
        ("0 12 * * 1,5", "2023-03-03 12:00", "2023-03-06 12:00"),
        ("0 9 29 2 *", "2026-01-01 00:00", "2028-02-29 09:00"),
        ("0 9 31 * *", "2026-03-31 09:00", "2026-05-31 09:00"),
        ("*/20 9-17/4 * * MON-FRI", "2026-01-02 17:40", "2026-01-05 09:00"),
        ("0 0 1 * MON", "2026-01-01 00:00", "2026-01-05 00:00"),
        ("0 9 L * *", "2026-02-01 00:00", "2026-02-28 09:00"),
    ],
)
def test_next_minute_that_matches(expression: str, now: str, following: str) -> None:
    """The next tick, and the first of a new cron, is the first matching minute strictly after now."""
    schedule = CronExpression.of(expression, UTC)
    assert schedule.next(at(now)) == schedule.first(at(now)) == at(following)


def test_interval_starts_now() -> None:
    """The first tick of an interval is now, each further one an interval later."""
    schedule = Interval.of(timedelta(minutes=1))
    now = at("2023-03-01 08:35")
    assert schedule.first(now) == now
    assert schedule.next(now) == at("2023-03-01 08:36")


def test_fractions_of_a_second_count() -> None:
    """A matching minute is the next tick until it begins, and not after."""
    schedule = CronExpression.of("* * * * *", UTC)
    noon = at("2026-01-01 12:00")
    assert schedule.next(noon - 0.001) == noon
    assert schedule.next(noon) == schedule.next(noon + 0.001) == noon + MINUTE


# --- where clocks change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        (BERLIN, "2026-03-28", ["03-28 02:30+0100", "03-29 03:00+0200", "03-30 02:30+0200"]),
        (BERLIN, "2027-03-27", ["03-27 02:30+0100", "03-28 03:00+0200", "03-29 02:30+0200"]),
        (NEW_YORK, "2026-03-07", ["03-07 02:30-0500", "03-08 03:00-0400", "03-09 02:30-0400"]),
        (NEW_YORK, "2027-03-13", ["03-13 02:30-0500", "03-14 03:00-0400", "03-15 02:30-0400"]),
    ],
)
def test_skipped_time_fires_once(zone: ZoneInfo, start: str, expected: list[str]) -> None:
    """A time in the skipped hour of spring fires once, at the end of that hour."""
    assert clock_times(CronExpression.of("30 2 * * *", zone), zone, start, 3) == expected


@pytest.mark.parametrize(
    ("zone", "start", "hour", "expected"),
    [
        (BERLIN, "2026-10-24", 2, ["10-24 02:30+0200", "10-25 02:30+0200", "10-26 02:30+0100"]),
        (BERLIN, "2027-10-30", 2, ["10-30 02:30+0200", "10-31 02:30+0200", "11-01 02:30+0100"]),
        (NEW_YORK, "2026-10-31", 1, ["10-31 01:30-0400", "11-01 01:30-0400", "11-02 01:30-0500"]),
        (NEW_YORK, "2027-11-06", 1, ["11-06 01:30-0400", "11-07 01:30-0400", "11-08 01:30-0500"]),
    ],
)
def test_repeated_time_fires_once(zone: ZoneInfo, start: str, hour: int, expected: list[str]) -> None:
    """A time in the repeated hour of autumn fires only the first time."""
    assert clock_times(CronExpression.of(f"30 {hour} * * *", zone), zone, start, 3) == expected


def test_second_of_two_equal_hours_has_no_tick() -> None:
    """In the second of two equal hours a schedule does not return ticks of the first."""
    schedule = CronExpression.of("10,30,50 2 * * *", BERLIN)
    for minutes in range(60):
        after = at("2026-10-25 01:00") + minutes * MINUTE  # the second 02:00 of the night
        assert schedule.next(after) == at("2026-10-26 02:10+01:00")


def test_hours_with_a_star_follow_elapsed_time() -> None:
    """An hourly tick follows each elapsed hour, on days of 23 and 25 hours too."""
    schedule = CronExpression.of("15 * * * *", BERLIN)
    for day in ("2026-03-29", "2026-10-25"):
        found = list(islice(ticks(schedule, at(f"{day} 00:00") - DAY), 60))
        assert {later - earlier for earlier, later in pairwise(found)} == {60 * MINUTE}


def test_utc_has_no_summer_time() -> None:
    """In UTC each day has all of its ticks, also when clocks change elsewhere."""
    schedule = CronExpression.of("30 2 * * *", UTC)
    found = list(islice(ticks(schedule, at("2026-01-01 00:00")), 365))
    assert found == [at("2026-01-01 02:30") + day * DAY for day in range(365)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo", "Pacific/Apia"])
@settings(max_examples=30, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True),
    hours=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
    change=st.sampled_from(["03-07", "03-28", "04-23", "10-24", "10-29", "10-31"]),
    offset=st.floats(0, 3 * DAY),
)
def test_ticks_in_a_zone(zone: str, minutes: list[int], hours: list[int], change: str, offset: float) -> None:
    """Where clocks change ticks ascend, match the fields, and do not depend on the time of the call.

    A tick that the clock skips is the exception to the match.
    """
    there = ZoneInfo(zone)
    schedule = CronExpression.of(f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *", there)
    start = at(f"2026-{change} 00:00")
    found = list(islice(ticks(schedule, start), 5 * len(minutes) * len(hours)))
    assert found == sorted(set(found))
    assert found[0] > start
    asked = start + offset
    assert schedule.next(asked) == next(tick for tick in found if tick > asked)
    for tick in found:
        moment = datetime.fromtimestamp(tick / 1000, there)
        before = datetime.fromtimestamp(tick / 1000 - 60, there)
        matches = moment.minute in minutes and moment.hour in hours
        assert matches or moment.utcoffset() != before.utcoffset()


# --- exactly the matching ticks --------------------------------------------------------------------------------------


def subset(lowest: int, highest: int) -> st.SearchStrategy[frozenset[int] | None]:
    """Draw some values of a field, or all."""
    return st.none() | st.frozensets(st.integers(lowest, highest), min_size=1, max_size=4)


def field_text(values: frozenset[int] | None) -> str:
    """Return values as the text of a field."""
    return "*" if values is None else ",".join(map(str, values))


@SAMPLED
@settings(max_examples=examples(100), deadline=None)
@given(
    minutes=subset(0, 59),
    hours=subset(0, 23),
    days=subset(1, 28),
    weekdays=subset(0, 6),
    start=st.floats(at("2024-02-27 00:00"), at("2030-01-01 00:00")),
)
def test_no_minute_is_missed(
    minutes: frozenset[int] | None,
    hours: frozenset[int] | None,
    days: frozenset[int] | None,
    weekdays: frozenset[int] | None,
    start: float,
) -> None:
    """In UTC the ticks are exactly the minutes whose fields match, as found by trying each minute."""

    def matches(time: float) -> bool:
        moment = datetime.fromtimestamp(time / 1000, UTC)
        in_month = days is None or moment.day in days
        in_week = weekdays is None or moment.isoweekday() % 7 in weekdays
        either = days is not None and weekdays is not None  # cron takes either of the two if both are given
        on_day = (in_month or in_week) if either else (in_month and in_week)
        return on_day and (minutes is None or moment.minute in minutes) and (hours is None or moment.hour in hours)

    fields = [field_text(values) for values in (minutes, hours, days, None, weekdays)]
    schedule = CronExpression.of(" ".join(fields), UTC)
    end = start + 2 * DAY
    first = (start // MINUTE + 1) * MINUTE
    looked_at = [first + number * MINUTE for number in range(int((end - first) // MINUTE) + 1)]
    found = []
    for tick in ticks(schedule, start):
        if tick > end:
            break
        found.append(tick)
    assert found == [time for time in looked_at if matches(time)]


# --- missed ticks ----------------------------------------------------------------------------------------------------


@given(
    milliseconds=st.integers(1, 10**9),
    tick=st.floats(1.6e12, 2e12),
    late=st.floats(0, 1e11),
)
def test_interval_stays_on_its_grid(milliseconds: int, tick: float, late: float) -> None:
    """A late interval continues at the first tick after now that is a multiple of the interval away."""
    schedule = Interval(milliseconds)
    following, skipped = schedule.skip(tick, tick + late)
    assert tick + late < following <= tick + late + milliseconds + 0.001
    assert following == tick + (skipped + 1) * milliseconds


def test_expression_counts_skipped_ticks() -> None:
    """A late expression continues at the first tick after now, and counts the skipped ticks."""
    schedule = CronExpression.of("0 9 * * *", UTC)
    following, skipped = schedule.skip(at("2026-01-01 09:00"), at("2026-01-04 09:00"))
    assert (following, skipped) == (at("2026-01-05 09:00"), 3)
    assert schedule.skip(at("2026-01-01 09:00"), at("2026-01-01 09:01")) == (at("2026-01-02 09:00"), 0)


def test_expression_stops_counting() -> None:
    """An expression stops counting after many skipped ticks, so that it takes no time."""
    schedule = CronExpression.of("* * * * *", UTC)
    following, skipped = schedule.skip(at("2016-01-01 00:00"), at("2026-01-01 00:00"))
    assert (following, skipped) == (at("2026-01-01 00:01"), MAX_COUNTED_TICKS)


# --- strings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (Interval.of(300), "every 300 s"),
        (Interval.of(timedelta(minutes=5)), "every 300 s"),
        (Interval.of(0.05), "every 0.05 s"),
        (Interval.of(1_234_567.891), "every 1234567.891 s"),
        (CronExpression.of("30 17 * * *", UTC), "30 17 * * * UTC"),
        (CronExpression.of(" 0  9 * * mon-fri ", UTC), "0 9 * * MON-FRI UTC"),
        (CronExpression.of("CRON_TZ=Europe/Berlin 0 9 * * *", UTC), "0 9 * * * Europe/Berlin"),
        (CronExpression.of("CRON_TZ=UTC 0 9 * * *", BERLIN), "0 9 * * * UTC"),
        (CronExpression.of("0 9 * * *", zone_of(ZoneInfo("UTC"))), "0 9 * * * UTC"),
    ],
)
def test_schedule_as_a_line(schedule: Schedule, line: str) -> None:
    """The string of a schedule has its fields and its zone in a normal form, and tells an interval."""
    assert str(schedule) == line
    assert Interval.stored(line) == (schedule if isinstance(schedule, Interval) else None)


# --- invalid schedules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "must have five fields"),
        ("0 9 * *", "must have five fields .* not 4"),
        ("0 0 9 * * *", "must have five fields .* not 6"),
        ("@daily", r"write crons\.daily"),
        ("TZ=Europe/Berlin 0 9 * * *", "write CRON_TZ="),
        ("60 * * * *", "minute 0-59"),
        ("60 9 * * *", "is not a cron expression"),
        ("0 24 * * *", "is not a cron expression"),
        ("0 9 32 * *", "is not a cron expression"),
        ("0 9 0 * *", "is not a cron expression"),
        ("0 9 * 13 *", "is not a cron expression"),
        ("0 9 1 FEBR *", "is not a cron expression"),
        ("0 9 * * 8", "day of week 0-7"),
        ("0 9 * * 6-8", "is not a cron expression"),
        ("*/0 * * * *", "is not a cron expression"),
        ("30-10 * * * *", "is not a cron expression"),
        ("-1 * * * *", "is not a cron expression"),
        ("1" * 5000 + " * * * *", "a number is too long"),
        ("0 12 * * 1/2", "a step in the day of week needs a range"),
        ("0 9 31 2 *", "'0 9 31 2 \\*' will never match any time"),
        ("0 9 31 4,6 *", "will never match any time"),
        ("0 0 */15 2 MON#5", "will never match any time"),
        ("CRON_TZ=Mars/Olympus 0 9 * * *", "no time zone 'Mars/Olympus'"),
        ("CRON_TZ= 0 9 * * *", "no time zone ''"),
        ("CRON_TZ=Europe/Berlin", "must have five fields"),
    ],
)
def test_invalid_expression(expression: str, message: str) -> None:
    """An invalid expression, or one that never matches, is rejected with the reason."""
    with pytest.raises(RegistrationError, match=message):
        CronExpression.of(expression, UTC)


@pytest.mark.parametrize(
    ("with_seven", "days"),
    [("7", "0"), ("07", "SUN"), ("5-7", "0,5,6"), ("1,7", "0,1"), ("1-7/2", "0,1,3,5"), ("7L", "0L"), ("7#2", "0#2")],
)
def test_seven_is_sunday(with_seven: str, days: str) -> None:
    """The day of week 7 is Sunday, as in cron, also in ranges and lists."""
    first, second = (CronExpression.of(f"0 12 * * {field}", UTC) for field in (with_seven, days))
    times = [at("2026-01-01 00:00")]
    for _ in range(20):
        times.append(first.next(times[-1]))
    assert times[1:] == [second.next(time) for time in times[:-1]]


@pytest.mark.parametrize("expression", ["0 9 * * */7", "0 9 * * 1#1", "0 9 */7 * *", "7 7 7 7 *", "0 9 * * 5L"])
def test_expressions_are_kept_as_written(expression: str) -> None:
    """The text of a schedule is the expression and its zone."""
    assert str(CronExpression.of(expression, UTC)) == f"{expression} UTC"


@pytest.mark.parametrize(
    "every", [0, -1, -0.0, float("nan"), float("inf"), 1e300, 0.0001, timedelta(0), timedelta.max, timedelta.min]
)
def test_invalid_interval(every: timedelta | float) -> None:
    """An interval outside of a millisecond to five years is rejected."""
    with pytest.raises(RegistrationError, match="from a millisecond to five years"):
        Interval.of(every)


@pytest.mark.parametrize("every", ["5 minutes", None, True])
def test_interval_of_another_type(every: timedelta | float) -> None:
    """An interval that is neither a timedelta nor a number of seconds is rejected."""
    with pytest.raises(RegistrationError, match="must be a timedelta or seconds"):
        Interval.of(every)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b", "x" * 5000])
def test_invalid_zone(zone: str) -> None:
    """A value that is not the name of a time zone is rejected, even if it is a path."""
    with pytest.raises(RegistrationError, match="there is no time zone"):
        zone_of(zone)


def test_zone_without_a_name() -> None:
    """A fixed offset is rejected, since it does not know when its clocks change."""
    with pytest.raises(RegistrationError, match="IANA name"):
        zone_of(timezone(timedelta(hours=2)))
