"""Rate limits as functions use them: in which transaction tokens are taken, and what may be asked for."""

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
from tests.rate_limits import NOW, buckets, take

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]


class Boom(Exception):
    """What the functions here fail with."""


# --- in which transaction --------------------------------------------------------------------------------------------


@mutation
def send(ctx: MutationCtx, *, fail: bool = False) -> None:
    """Take one of two tokens, and fail or not."""
    ctx.rate_limit("send", key="ada", rate=2, period=timedelta(minutes=1))
    if fail:
        raise Boom


@mutation
def send_and_catch(ctx: MutationCtx) -> None:
    """Take one of two tokens for good, and one for a part that fails."""
    ctx.run_mutation(send)
    with suppress(Boom):
        ctx.run_mutation(send, fail=True)


@action
def send_from_action(ctx: ActionCtx, *, fail: bool = False) -> None:
    """Take one of two tokens, and fail or not."""
    ctx.rate_limit("send", key="ada", rate=2, period=60)
    if fail:
        raise Boom


def granted(call: Callable[[], Any]) -> int:
    """How often something can be done before it is refused; everything else it raises counts too."""
    for number in range(100):
        try:
            with suppress(Boom):
                call()
        except RateLimitedError:
            return number
    return 100


def test_mutation_that_fails_gives_its_tokens_back() -> None:
    """Tokens are a part of the mutation that takes them: one that fails has not taken any."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        ctx = backend.ctx()
        assert granted(lambda: ctx.run_mutation(send, fail=True)) == 100
        assert buckets(backend) == {}
        assert granted(lambda: ctx.run_mutation(send)) == 2


def test_part_that_fails_gives_its_tokens_back_alone() -> None:
    """Of a part of a mutation that fails only its own tokens come back."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        assert granted(lambda: backend.ctx().run_mutation(send_and_catch)) == 1
        assert buckets(backend)["ada"].tokens == 1


def test_mutation_that_catches_a_refusal_commits() -> None:
    """A refusal that a mutation catches takes nothing and undoes nothing."""

    @mutation
    def send_what_is_left(ctx: MutationCtx) -> int:
        return granted(lambda: ctx.rate_limit("send", key="ada", rate=3, period=60))

    with memory_backend(Schema(), clock=Clock()) as backend:
        assert backend.ctx().run_mutation(send_what_is_left) == 3
        assert buckets(backend)["ada"].tokens == 0


def test_action_takes_at_once() -> None:
    """Tokens that an action takes are taken, whatever becomes of it."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        assert granted(lambda: backend.ctx().run_action(send_from_action, fail=True)) == 2


def test_clock_of_the_application_counts() -> None:
    """Tokens come back as the application's clock goes."""
    clock = Clock()
    with memory_backend(Schema(), clock=clock) as backend:
        ctx = backend.ctx()
        assert granted(lambda: ctx.run_mutation(send)) == 2
        clock.advance(timedelta(seconds=30))
        assert granted(lambda: ctx.run_mutation(send)) == 1


def test_refused_action_writes_nothing(tmp_path: Path) -> None:
    """A call outside of a mutation that is refused does not change the database; one that is let through does."""
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
def test_refused_action_waits_for_no_writer(tmp_path: Path) -> None:
    """A call outside of a mutation is refused even while somebody else writes; one with a token left has to wait."""
    impatient = Settings.from_mapping({"CONVEX_WRITE_TIMEOUT": 0.5})
    backend = Backend(impatient, Schema(), folder=tmp_path, clock=Clock())
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
def test_threads_never_take_more_than_there_are(where: str) -> None:
    """Many threads at once get as many tokens as the bucket holds, no more and no fewer."""

    @mutation
    def one(ctx: MutationCtx) -> None:
        ctx.rate_limit("send", rate=20, period=60)

    with memory_backend(Schema(), clock=Clock()) as backend:
        counts: list[int] = []

        def work() -> None:
            ctx = backend.ctx()
            if where == "mutation":
                counts.append(granted(lambda: ctx.run_mutation(one)))
            else:
                counts.append(granted(lambda: ctx.rate_limit("send", rate=20, period=60)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(counts) == 8
    assert sum(counts) == 20


# --- what is given ---------------------------------------------------------------------------------------------------


class Plan(enum.StrEnum):
    """Keys of an enumeration."""

    FREE = "free"


def test_any_text_is_a_key() -> None:
    """Keys come from outside: any text is one, and no two share a bucket."""
    limit = Limit.of("mail", 1, 60, None)
    odd = ["", " ", "\0", "\0\0", "a\0", "\ud800", "\udc00", "\ud83d\ude00", "\U0001f600", "é", "e\u0301", Plan.FREE]
    long = ["x" * 200, "x" * 201, "x" * 1_000_000, "x" * 1_000_001]
    with memory_backend(Schema()) as backend:
        for key in odd + long:
            assert take(backend, limit, key, NOW) == 0
            assert take(backend, limit, key, NOW) == 60
        digests = [key for key in buckets(backend) if key.startswith("sha256:")]
        assert digests
        for key in digests:
            assert take(backend, limit, key, NOW) == 0
        assert max(map(len, buckets(backend))) == 200


def test_no_text_gives_an_error() -> None:
    """Whatever the text, a key has a bucket, and it is its own."""
    limit = Limit.of("mail", 1, 60, None)
    seen: set[str] = set()
    with memory_backend(Schema()) as backend:

        @given(key=st.text(st.characters(), max_size=300))
        @settings(max_examples=150, deadline=None)
        def check(key: str) -> None:
            assert take(backend, limit, key, NOW) == (60 if key in seen else 0)
            seen.add(key)

        check()


@pytest.mark.parametrize("key", [None, 17, b"ada", ["ada"]])
def test_key_that_is_no_text(key: Any) -> None:
    """What is no text is refused as a wrong argument."""
    with memory_backend(Schema()) as backend:
        with pytest.raises(ArgumentValidationError, match="mail: the key must be text, not"):
            backend.ctx().rate_limit("mail", key=key, rate=1, period=60)
        assert buckets(backend) == {}


@pytest.mark.parametrize("count", [0, -1, math.nan, -math.inf, True, "1", None])
def test_count_that_takes_nothing(count: Any) -> None:
    """A count that is not a number above 0 is refused as a wrong argument."""
    with memory_backend(Schema()) as backend, pytest.raises(ArgumentValidationError, match="must be a number above 0"):
        backend.ctx().rate_limit("mail", rate=1, period=60, count=count)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(11, "11"), (10.5, "10.5"), (1_000_000, "1000000"), (math.inf, "1e+300"), (10**5000, "1e+300")],
    ids=["integer", "part", "large", "infinite", "huge"],
)
def test_count_that_no_bucket_holds(count: float, shown: str) -> None:
    """A count above the capacity would never be granted, and is refused as a wrong argument in Convex's words."""
    with memory_backend(Schema()) as backend, pytest.raises(ArgumentValidationError) as caught:
        backend.ctx().rate_limit("mail", rate=10, period=60, count=count)
    assert str(caught.value) == f"Rate limit mail count {shown} exceeds 10."


def test_refusal_is_for_clients() -> None:
    """A refusal is a public 429 that names the limit, and says when to come back."""
    with memory_backend(Schema(), clock=Clock()) as backend:
        backend.ctx().rate_limit("mail", rate=1, period=timedelta(hours=1))
        with pytest.raises(ConvexHTTPError) as caught:
            backend.ctx().rate_limit("mail", rate=1, period=timedelta(hours=1))
    assert (caught.value.status, caught.value.public, caught.value.retry_after) == (429, True, 3600)
    assert str(caught.value) == "Rate limit mail exceeded; retry after 3600 s"


@pytest.mark.parametrize("name", ["", None, 5, "a\nb", "\ud800"])
def test_names_that_cannot_be(name: Any) -> None:
    """A name is text that can be shown."""
    with pytest.raises(RegistrationError, match="name is printable text"):
        Limit.of(name, 1, 1, None)


@pytest.mark.parametrize(
    ("rate", "period", "capacity", "said"),
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
def test_limits_that_cannot_work(rate: Any, period: Any, capacity: Any, said: str) -> None:
    """A limit that gives nothing, or for ever, or is no number is a mistake, and says which of its parts."""
    with pytest.raises(RegistrationError) as caught:
        Limit.of("mail", rate, period, capacity)
    assert str(caught.value).startswith("Rate limit mail: ")
    assert said in str(caught.value)
