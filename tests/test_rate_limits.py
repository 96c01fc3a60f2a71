"""The buckets of rate limits: how many tokens they give and when, changes of the clock, and the purge of rows."""

import math
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import Schema
from flask_convex_http.durations import CLOCK_TOLERANCE_MS
from flask_convex_http.rate_limits import Limit
from flask_convex_http.testing import memory_backend
from tests.lengths import SAMPLED, examples
from tests.rate_limits import NOW, buckets, count_available, purge, take

MINUTE = 60_000.0
#: The largest rounding error, as a part of the requested tokens; the bucket owes it.
TOLERANCE = 1e-5

LIMITS = st.builds(
    lambda rate, seconds, capacity: Limit.of("limit", rate, seconds, capacity),
    st.one_of(st.integers(1, 1000), st.floats(0.1, 1e6)),
    st.one_of(st.integers(1, 10_000), st.floats(0.01, 1e4)),
    st.one_of(st.integers(1, 1000), st.floats(1, 1e4)),
)
#: Milliseconds that pass, and the part of the capacity that is requested then.
STEPS = st.lists(
    st.tuples(st.one_of(st.integers(0, 100_000), st.floats(0, 1e6)), st.floats(0.001, 1)), min_size=1, max_size=20
)


def refill_time(limit: Limit) -> float:
    """Return the milliseconds in which an empty bucket fills."""
    return limit.capacity / limit.per_millisecond


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_bucket_gives_its_capacity_and_then_single_tokens() -> None:
    """A bucket gives its capacity at once, and then one token at a time, with the seconds to the next."""
    limit = Limit.of("mail", 10, timedelta(minutes=1), None)
    with memory_backend(Schema()) as backend:
        assert count_available(backend, limit, "ada", NOW) == 10
        assert take(backend, limit, "ada", NOW) == 6
        assert take(backend, limit, "ada", NOW + 5_500) == 1
        assert take(backend, limit, "ada", NOW + 6_000) == 0
        assert take(backend, limit, "ada", NOW + 6_000) == 6
        assert count_available(backend, limit, "ada", NOW + 60 * MINUTE) == 10


def test_capacity_and_count() -> None:
    """The capacity may differ from the rate, and a call may take several tokens or a part of one."""
    with memory_backend(Schema()) as backend:
        burst = Limit.of("burst", 1, timedelta(seconds=1), 50)
        assert take(backend, burst, "ada", NOW, count=50) == 0
        assert take(backend, burst, "ada", NOW, count=3) == 3
        assert take(backend, burst, "ada", NOW + 500, count=0.5) == 0
        assert take(backend, burst, "ada", NOW + 500, count=0.5) == 1
        smooth = Limit.of("smooth", 60, timedelta(minutes=1), 1)
        assert count_available(backend, smooth, "ada", NOW) == 1
        assert count_available(backend, smooth, "ada", NOW + 10 * MINUTE) == 1


def test_each_name_and_key_has_its_own_bucket() -> None:
    """Each limit and each key has its own bucket."""
    with memory_backend(Schema()) as backend:
        one, other = Limit.of("one", 2, 60, None), Limit.of("other", 2, 60, None)
        for limit in (one, other):
            for key in ("", "ada", "Ada", "bob"):
                assert count_available(backend, limit, key, NOW) == 2


def test_limit_that_was_changed() -> None:
    """A bucket holds no more than the current capacity, also if the limit was larger before."""
    with memory_backend(Schema()) as backend:
        assert take(backend, Limit.of("mail", 100, 60, None), "ada", NOW) == 0
        assert count_available(backend, Limit.of("mail", 5, 60, None), "ada", NOW) == 5


@SAMPLED
def test_buckets_agree_with_an_exact_model() -> None:
    """A bucket grants and rejects like exact arithmetic, and `retry_after` is the next whole second."""
    with memory_backend(Schema()) as backend:

        @given(limit=LIMITS, steps=STEPS)
        @settings(max_examples=examples(100), deadline=None)
        def check(limit: Limit, steps: list[tuple[float, float]]) -> None:
            purge(backend, math.inf)
            now = NOW
            per_second, capacity = Fraction(limit.per_millisecond) * 1000, Fraction(limit.capacity)
            tokens = capacity
            for passed, part in steps:
                before, now, count = now, now + passed, limit.capacity * part
                tokens = min(capacity, tokens + (Fraction(now) - Fraction(before)) / 1000 * per_second)
                seconds = take(backend, limit, "ada", now, count)
                if seconds == 0:
                    assert tokens >= count * (1 - TOLERANCE)
                    tokens -= Fraction(count)
                else:
                    assert tokens < count
                    assert tokens + seconds * per_second >= count * (1 - TOLERANCE)
                    assert seconds == 1 or tokens + (seconds - 1) * per_second < count

        check()


@SAMPLED
def test_no_window_gives_more_than_capacity_and_refill() -> None:
    """In any window a bucket gives at most its capacity and the tokens that returned in the window."""
    with memory_backend(Schema()) as backend:

        @given(limit=LIMITS, steps=STEPS)
        @settings(max_examples=examples(100), deadline=None)
        def check(limit: Limit, steps: list[tuple[float, float]]) -> None:
            purge(backend, math.inf)
            now, granted = NOW, list[tuple[float, float]]()
            for passed, part in steps:
                now, count = now + passed, limit.capacity * part
                if take(backend, limit, "ada", now, count) == 0:
                    granted.append((now, count))
            for start, (first, _) in enumerate(granted):
                given = 0.0
                for last, count in granted[start:]:
                    given += count
                    assert given <= limit.capacity * (1 + TOLERANCE) + (last - first) * limit.per_millisecond

        check()


@SAMPLED
def test_rejected_call_is_granted_after_retry_after() -> None:
    """A rejected call is granted after `retry_after`, if no other call takes the tokens."""
    with memory_backend(Schema()) as backend:

        @given(limit=LIMITS, steps=STEPS)
        @settings(max_examples=examples(100), deadline=None)
        def check(limit: Limit, steps: list[tuple[float, float]]) -> None:
            purge(backend, math.inf)
            now = NOW
            for passed, part in steps:
                now, count = now + passed, limit.capacity * part
                seconds = take(backend, limit, "ada", now, count)
                if seconds:
                    now += seconds * 1000
                    assert take(backend, limit, "ada", now, count) == 0

        check()


@SAMPLED
def test_clock_changes() -> None:
    """After any change of the clock a bucket gives at most its capacity.

    It is full after the time to fill and the minute of clock tolerance.
    """
    with memory_backend(Schema()) as backend:

        @given(limit=LIMITS, steps=STEPS, jumps=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5), data=st.data())
        @settings(max_examples=examples(100), deadline=None)
        def check(limit: Limit, steps: list[tuple[float, float]], jumps: list[float], data: st.DataObject) -> None:
            purge(backend, math.inf)
            now = NOW
            for jump in jumps:
                for passed, part in steps:
                    now += passed
                    take(backend, limit, "ada", now, limit.capacity * part)
                now += data.draw(st.sampled_from([jump, jump * refill_time(limit) / 1e9]), label="jump")
                count = limit.capacity * data.draw(st.floats(0.5, 1), label="part")
                given = 0.0
                while (seconds := take(backend, limit, "ada", now, count)) == 0:
                    given += count
                assert given <= limit.capacity * (1 + TOLERANCE)
                assert seconds * 1000 <= refill_time(limit) + CLOCK_TOLERANCE_MS + 1000
                now += refill_time(limit) * (1 + TOLERANCE) + CLOCK_TOLERANCE_MS + 0.001
                assert take(backend, limit, "ada", now, limit.capacity) == 0

        check()


@pytest.mark.parametrize("behind", [0.001, 1.0, 59.9])
def test_clock_of_another_machine(behind: float) -> None:
    """Two machines with different clocks do not give the same token twice."""
    limit = Limit.of("mail", 10, timedelta(minutes=1), None)
    with memory_backend(Schema()) as backend:
        assert count_available(backend, limit, "ada", NOW) == 10
        assert take(backend, limit, "ada", NOW - behind * 1000) == math.ceil(6 + behind)
        assert take(backend, limit, "ada", NOW + 6_000 - behind * 1000) > 0
        assert take(backend, limit, "ada", NOW + 6_000) == 0
        assert take(backend, limit, "ada", NOW + 6_000 - behind * 1000) == math.ceil(6 + behind)
        assert take(backend, limit, "ada", NOW + 6_000) == 6


@pytest.mark.parametrize("back", [timedelta(seconds=61), timedelta(days=400)])
def test_clock_set_back_opens_the_bucket(back: timedelta) -> None:
    """When the clock is set back by more than a minute, an empty bucket is full once."""
    limit = Limit.of("mail", 10, timedelta(minutes=1), None)
    with memory_backend(Schema()) as backend:
        assert count_available(backend, limit, "ada", NOW) == 10
        earlier = NOW - back / timedelta(milliseconds=1)
        assert count_available(backend, limit, "ada", earlier) == 10
        assert take(backend, limit, "ada", earlier) == 6


def test_early_token_is_owed() -> None:
    """A token may be taken a millionth of its time too early, and the next one waits for the difference."""
    limit = Limit.of("mail", 1, 1, None)
    with memory_backend(Schema()) as backend:
        assert take(backend, limit, "ada", 0.0) == 0
        assert take(backend, limit, "ada", 999.9993) == 0
        assert take(backend, limit, "ada", 999.9993 * 2) == 1
        assert take(backend, limit, "ada", 2000.0) == 0


def test_extreme_limits() -> None:
    """The fastest and the slowest possible limit give their capacity and a correct `retry_after`."""
    with memory_backend(Schema()) as backend:
        fast = Limit.of("fast", 2**53, 0.001, None)
        assert take(backend, fast, "", NOW, count=2**53) == 0
        assert take(backend, fast, "", NOW, count=2**53) == 1
        assert take(backend, fast, "", NOW, count=5e-324) == 1
        assert take(backend, fast, "", NOW + 1, count=2**53) == 0
        slow = Limit.of("slow", 1, timedelta(days=36_500), None)
        assert take(backend, slow, "", NOW) == 0
        seconds = take(backend, slow, "", NOW)
        assert seconds == pytest.approx(36_500 * 86_400, rel=TOLERANCE)
        assert take(backend, slow, "", NOW + seconds * 1000) == 0


# --- rows ------------------------------------------------------------------------------------------------------------


def test_purge_deletes_full_buckets_only() -> None:
    """The purge deletes rows of full buckets, up to its limit."""
    limit = Limit.of("mail", 10, timedelta(minutes=1), None)
    with memory_backend(Schema()) as backend:
        for key in ("a", "b", "c"):
            take(backend, limit, key, NOW)  # full again in six seconds
        take(backend, limit, "later", NOW, count=2)
        assert purge(backend, NOW + 5_999) == 0
        assert purge(backend, NOW + 6_001, limit=2) == 2
        assert purge(backend, NOW + 6_001, limit=2) == 1
        assert list(buckets(backend)) == ["later"]
        assert purge(backend, NOW + 12_001) == 1


@SAMPLED
def test_purge_does_not_change_results() -> None:
    """A purge before each request does not change any result."""
    with memory_backend(Schema()) as purged, memory_backend(Schema()) as kept:

        @given(limit=LIMITS, steps=STEPS)
        @settings(max_examples=examples(50), deadline=None)
        def check(limit: Limit, steps: list[tuple[float, float]]) -> None:
            for backend in (purged, kept):
                purge(backend, math.inf)
            now = NOW
            for passed, part in steps:
                now, count = now + passed, limit.capacity * part
                purge(purged, now)
                assert take(purged, limit, "ada", now, count) == take(kept, limit, "ada", now, count)

        check()
