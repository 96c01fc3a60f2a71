"""`ctx.rate_limit` in functions: the transaction that takes the tokens, and the accepted arguments."""

import enum
import math
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    ConvexHTTPError,
    MutationCtx,
    OverloadedError,
    RegistrationError,
    Schema,
    action,
    mutation,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.errors import RateLimitedError
from flask_convex_http.rate_limits import Limit
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY, memory_backend, settings_in, write_marker
from tests.lengths import SAMPLED, examples
from tests.rate_limits import NOW, buckets, take

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Boom(Exception):
    """An error of the functions in this module."""


# --- transactions ----------------------------------------------------------------------------------------------------


@mutation
def send(ctx: MutationCtx, *, fail: bool = False) -> None:
    """Take one of two tokens, and fail on request."""
    ctx.rate_limit("send", key="ada", rate=2, period=timedelta(minutes=1))
    if fail:
        raise Boom


@mutation
def send_and_catch(ctx: MutationCtx) -> None:
    """Take one of two tokens, and roll back another with a nested mutation."""
    ctx.run_mutation(send)
    with suppress(Boom):
        ctx.run_mutation(send, fail=True)


@action
def send_from_action(ctx: ActionCtx, *, fail: bool = False) -> None:
    """Take one of two tokens, and fail on request."""
    ctx.rate_limit("send", key="ada", rate=2, period=60)
    if fail:
        raise Boom


def count_allowed(call: Callable[[], Any]) -> int:
    """Return how many calls are allowed before the first RateLimitedError; calls that raise Boom count."""
    for number in range(100):
        try:
            with suppress(Boom):
                call()
        except RateLimitedError:
            return number
    return 100


def test_failed_mutation_returns_its_tokens() -> None:
    """A mutation that fails takes no tokens."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        ctx = backend.ctx()
        assert count_allowed(lambda: ctx.run_mutation(send, fail=True)) == 100
        assert buckets(backend) == {}
        assert count_allowed(lambda: ctx.run_mutation(send)) == 2


def test_failed_nested_mutation_returns_only_its_tokens() -> None:
    """A nested mutation that fails returns its own tokens only."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        assert count_allowed(lambda: backend.ctx().run_mutation(send_and_catch)) == 1
        assert buckets(backend)["ada"].tokens == 1


def test_mutation_that_catches_the_error_commits() -> None:
    """A mutation that catches RateLimitedError commits, and the rejected call takes nothing."""

    @mutation
    def send_all(ctx: MutationCtx) -> int:
        return count_allowed(lambda: ctx.rate_limit("send", key="ada", rate=3, period=60))

    with memory_backend(Schema(), clock=Clock()) as backend:
        assert backend.ctx().run_mutation(send_all) == 3
        assert buckets(backend)["ada"].tokens == 0


def test_failed_action_keeps_its_tokens() -> None:
    """An action that fails keeps the tokens it took."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        assert count_allowed(lambda: backend.ctx().run_action(send_from_action, fail=True)) == 2


def test_tokens_return_by_the_application_clock() -> None:
    """Tokens return by the application's clock."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        ctx = backend.ctx()
        assert count_allowed(lambda: ctx.run_mutation(send)) == 2
        clock.advance(timedelta(seconds=30))
        assert count_allowed(lambda: ctx.run_mutation(send)) == 1


def test_rejected_call_writes_nothing(tmp_path: Path) -> None:
    """Outside of a mutation a rejected call does not write to the database; an allowed one does."""
    with closing(Backend(settings_in(tmp_path), Schema(), folder=tmp_path, clock=Clock())) as backend:
        backend.migrate()
        writes = [write_marker(tmp_path)]
        for _ in range(4):
            with suppress(RateLimitedError):
                backend.ctx().rate_limit("send", key="ada", rate=2, period=60)
            writes.append(write_marker(tmp_path))
    assert len({*writes[:3]}) == 3
    assert writes[2] == writes[3] == writes[4]


@SQLITE_ONLY
def test_rejected_call_does_not_wait_for_writers(tmp_path: Path) -> None:
    """Outside of a mutation a rejected call does not wait for writers, while an allowed one does."""
    settings_with_timeout = Settings.from_mapping({"CONVEX_WRITE_TIMEOUT": 0.5})
    backend = Backend(settings_with_timeout, Schema(), folder=tmp_path, clock=Clock())
    other = sqlite3.connect(tmp_path / "convex.db", isolation_level=None)
    try:
        backend.migrate()
        backend.ctx().rate_limit("send", key="ada", rate=1, period=60)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RateLimitedError):
            backend.ctx().rate_limit("send", key="ada", rate=1, period=60)
        with pytest.raises(OverloadedError):
            backend.ctx().rate_limit("send", key="bob", rate=1, period=60)
    finally:
        other.close()
        backend.close()


@pytest.mark.parametrize("where", ["mutation", "action"])
def test_concurrent_threads(where: str) -> None:
    """Concurrent threads get exactly as many tokens as the bucket holds."""

    @mutation
    def one(ctx: MutationCtx) -> None:
        ctx.rate_limit("send", rate=20, period=60)

    with memory_backend(Schema(), clock=Clock()) as backend:
        counts: list[int] = []

        def work() -> None:
            ctx = backend.ctx()
            if where == "mutation":
                counts.append(count_allowed(lambda: ctx.run_mutation(one)))
            else:
                counts.append(count_allowed(lambda: ctx.rate_limit("send", rate=20, period=60)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(counts) == 8
    assert sum(counts) == 20


# --- arguments -------------------------------------------------------------------------------------------------------


class Plan(enum.StrEnum):
    """An enumeration of keys."""

    FREE = "free"


def test_any_text_is_a_key() -> None:
    """Any text is a key with its own bucket, and a long one is stored as a hash."""
    limit = Limit.of("mail", 1, 60, None)
    short = ["", " ", "\0", "\0\0", "a\0", "\ud800", "\udc00", "\ud83d\ude00", "\U0001f600", "é", "e\u0301", Plan.FREE]
    long = ["x" * 200, "x" * 201, "x" * 1_000_000, "x" * 1_000_001]
    with memory_backend(Schema()) as backend:
        for key in short + long:
            assert take(backend, limit, key, NOW) == 0
            assert take(backend, limit, key, NOW) == 60
        digests = [key for key in buckets(backend) if key.startswith("sha256:")]
        assert digests
        for key in digests:
            assert take(backend, limit, key, NOW) == 0
        assert max(map(len, buckets(backend))) == 200


@SAMPLED
def test_no_text_raises_an_error() -> None:
    """No text raises an error, and each has its own bucket."""
    limit = Limit.of("mail", 1, 60, None)
    seen: set[str] = set()
    with memory_backend(Schema()) as backend:

        @given(key=st.text(st.characters(), max_size=300))
        @settings(max_examples=examples(150), deadline=None)
        def check(key: str) -> None:
            assert take(backend, limit, key, NOW) == (60 if key in seen else 0)
            seen.add(key)

        check()


@pytest.mark.parametrize("key", [None, 17, b"ada", ["ada"]])
def test_key_that_is_not_text(key: Any) -> None:
    """A key that is not text raises ArgumentValidationError."""
    with memory_backend(Schema()) as backend:
        with pytest.raises(ArgumentValidationError, match="mail: the key must be text, not"):
            backend.ctx().rate_limit("mail", key=key, rate=1, period=60)
        assert buckets(backend) == {}


@pytest.mark.parametrize("count", [0, -1, math.nan, -math.inf, True, "1", None])
def test_invalid_count(count: Any) -> None:
    """A count that is not a number above 0 raises ArgumentValidationError."""
    with memory_backend(Schema()) as backend, pytest.raises(ArgumentValidationError, match="must be a number above 0"):
        backend.ctx().rate_limit("mail", rate=1, period=60, count=count)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(11, "11"), (10.5, "10.5"), (1_000_000, "1000000"), (math.inf, "1e+300"), (10**5000, "1e+300")],
    ids=["integer", "part", "large", "infinite", "huge"],
)
def test_count_above_the_capacity(count: float, shown: str) -> None:
    """A count above the capacity raises ArgumentValidationError with Convex's message."""
    with memory_backend(Schema()) as backend, pytest.raises(ArgumentValidationError) as caught:
        backend.ctx().rate_limit("mail", rate=10, period=60, count=count)
    assert str(caught.value) == f"Rate limit mail count {shown} exceeds 10."


def test_error_is_public() -> None:
    """RateLimitedError is a public 429 with the name of the limit and Retry-After."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        backend.ctx().rate_limit("mail", rate=1, period=timedelta(hours=1))
        with pytest.raises(ConvexHTTPError) as caught:
            backend.ctx().rate_limit("mail", rate=1, period=timedelta(hours=1))
    assert (caught.value.status, caught.value.public, caught.value.retry_after) == (429, True, 3600)
    assert str(caught.value) == "Rate limit mail exceeded; retry after 3600 s"


@pytest.mark.parametrize("name", ["", None, 5, "a\nb", "\ud800"])
def test_invalid_names(name: Any) -> None:
    """A name that is not printable text raises RegistrationError."""
    with pytest.raises(RegistrationError, match="name is printable text"):
        Limit.of(name, 1, 1, None)


@pytest.mark.parametrize(
    ("rate", "period", "capacity", "expected"),
    [
        (0, 1, 1, "rate=0 must be a number of tokens above 0"),
        (-1, 1, 1, "rate=-1 must"),
        (math.nan, 1, 1, "rate=nan must"),
        (math.inf, 1, 1, "rate=inf must"),
        (True, 1, 1, "rate=True must"),
        ("10", 1, 1, "rate='10' must"),
        (10**400, 1, 1, "rate=1000"),
        (1, 0, 1, "period=0 must be a timedelta or a number of seconds"),
        (1, -1, 1, "period=-1 must"),
        (1, timedelta(0), 1, "period=datetime.timedelta"),
        (1, timedelta(seconds=-1), 1, "period=datetime.timedelta"),
        (1, math.nan, 1, "period=nan must"),
        (1, math.inf, 1, "period=inf must"),
        (1, 5e-324, 1, "period=5e-324 must"),
        (1, "minute", 1, "period='minute' must"),
        (1, 1, 0, "capacity=0 must be a number of tokens from 1"),
        (1, 1, 0.5, "capacity=0.5 must"),
        (1, 1, math.nan, "capacity=nan must"),
        (1, 1, math.inf, "capacity=inf must"),
        (1, 1, "5", "capacity='5' must"),
        (0.5, 1, None, "a bucket of less than one token; pass capacity=1"),
        (1, timedelta(days=40_000), None, "more than 100 years"),
        (5e-324, 2**53, 1, "more than 100 years"),
    ],
)
def test_invalid_limits(rate: Any, period: Any, capacity: Any, expected: str) -> None:
    """A rate, period or capacity that cannot work raises RegistrationError, which names it."""
    with pytest.raises(RegistrationError) as caught:
        Limit.of("mail", rate, period, capacity)
    assert str(caught.value).startswith("Rate limit mail: ")
    assert expected in str(caught.value)
