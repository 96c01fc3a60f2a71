"""`Retry` and the decorators that take one: the delays between attempts, and invalid values."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ActionCtx,
    RegistrationError,
    Retry,
    Schema,
    action,
    internal_action,
    internal_mutation,
)
from flask_convex_http.functions.function import ActionFunction
from flask_convex_http.testing import Clock, memory_backend, run_scheduled
from tests.lengths import SAMPLED, examples

SECONDS = st.floats(0, 366 * 86400) | st.integers(0, 366 * 86400)
WAITS = SECONDS | SECONDS.map(lambda seconds: timedelta(seconds=seconds))


def seconds(wait: timedelta | float) -> float:
    return wait.total_seconds() if isinstance(wait, timedelta) else wait


# --- delays ----------------------------------------------------------------------------------------------------------


@SAMPLED
@given(backoff=WAITS, longest=WAITS, attempt=st.integers(1, 5000))
@settings(deadline=None, max_examples=examples(300))
def test_every_delay(backoff: timedelta | float, longest: timedelta | float, attempt: int) -> None:
    """A delay is the backoff, doubled with each attempt, at most the longest, a quarter shorter or longer."""
    wait = Retry(max_attempts=100, backoff=backoff, max_backoff=longest).delay(attempt) / 1000
    doubled = seconds(backoff) * 2 ** min(attempt - 1, 100)
    expected = min(doubled, seconds(longest))
    assert expected * 0.7499 <= wait <= expected * 1.2501


def test_default_delays() -> None:
    """The default delays are one second, two, four, and so on up to an hour."""
    retry = Retry()
    for attempt, expected in enumerate([1, 2, 4, 8, 16, 32], start=1):
        assert abs(retry.delay(attempt) / 1000 - expected) <= expected / 4
    assert 2700 <= retry.delay(99) / 1000 <= 4500


def test_delays_are_spread() -> None:
    """The delays of jobs that failed together are spread over half of their length."""
    waits = [Retry(backoff=1).delay(1) for _ in range(500)]
    assert len(set(waits)) > 490
    assert min(waits) < 800
    assert max(waits) > 1200


def test_no_delay() -> None:
    """A backoff of zero is no delay."""
    assert Retry(backoff=0).delay(3) == 0


# --- invalid values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 0, -1, 101, 2.0, "3", None, True, math.inf])
def test_wrong_number_of_attempts(attempts: Any) -> None:
    """A number of attempts outside of 2 to 100 is rejected."""
    with pytest.raises(RegistrationError, match=r"Retry\(max_attempts=.*\) must be a number from 2 to 100"):
        Retry(max_attempts=attempts)


@pytest.mark.parametrize("name", ["backoff", "max_backoff"])
@pytest.mark.parametrize(
    "wait", [-1, -0.1, timedelta(-1), math.nan, math.inf, 10**400, timedelta.max, 367 * 86400, "1", None, True]
)
def test_wrong_backoff(name: str, wait: Any) -> None:
    """A backoff that is not a duration from zero to a year is rejected."""
    with pytest.raises(RegistrationError, match=rf"Retry\({name}=.*\) must be a timedelta or seconds, from 0 to 366"):
        Retry(**{name: wait})


@pytest.mark.parametrize("retry", [5, True, {"max_attempts": 3}, Retry, "yes"])
@pytest.mark.parametrize("decorate", [action, internal_action])
def test_wrong_retry(decorate: Any, retry: Any) -> None:
    """A value that is not a Retry is rejected by the decorator."""

    def fetch(ctx: ActionCtx) -> None: ...

    with pytest.raises(RegistrationError, match=r"takes a Retry\(max_attempts=\.\.\.\)"):
        decorate(retry=retry)(fetch)


@pytest.mark.parametrize("decorate", [action, internal_action])
def test_not_on_a_function(decorate: Any) -> None:
    """With retry= too the decorator accepts only a plain function."""
    with pytest.raises(RegistrationError, match="@action is put on a plain function"):
        decorate(retry=Retry())(len)


# --- decorators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decorate", "public"), [(action, True), (internal_action, False)])
def test_decorators(decorate: Any, public: bool) -> None:
    """The decorators of actions work bare, with parentheses, and with a retry."""
    retry = Retry(max_attempts=3)

    def bare(ctx: ActionCtx, *, number: int) -> int:
        """Return a number."""
        return number

    def with_parentheses(ctx: ActionCtx, *, number: int) -> int:
        return number

    def with_retry(ctx: ActionCtx, *, number: int) -> int:
        """Return a number."""
        return number

    functions = [decorate(bare), decorate()(with_parentheses), decorate(retry=retry)(with_retry)]
    assert [type(function) for function in functions] == [ActionFunction] * 3
    assert [function.public for function in functions] == [public] * 3
    assert [function.retry for function in functions] == [None, None, retry]
    assert [function.__doc__ for function in functions] == ["Return a number.", None, "Return a number."]
    assert [function.__name__ for function in functions] == ["bare", "with_parentheses", "with_retry"]
    with memory_backend(Schema(), functions) as backend:
        assert [backend.ctx().run_action(function, number=7) for function in functions] == [7] * 3


def test_called_action_runs_once() -> None:
    """An action with a retry that is called, not scheduled, runs once and raises."""
    calls = []

    @action(retry=Retry(max_attempts=3, backoff=0))
    def fail(ctx: ActionCtx) -> None:
        calls.append(ctx.attempt)
        raise ValueError

    with memory_backend(Schema()) as backend, pytest.raises(ValueError):
        backend.ctx().run_action(fail)
    assert calls == [1]


def test_token_and_attempt_outside_of_a_job() -> None:
    """An action that was not scheduled is in its first attempt, and has a token of its own."""

    @action
    def tokens(ctx: ActionCtx) -> list[Any]:
        return [ctx.idempotency_token, ctx.idempotency_token, ctx.attempt]

    with memory_backend(Schema()) as backend:
        first, again, attempt = backend.ctx().run_action(tokens)
        other, _, _ = backend.ctx().run_action(tokens)
    assert (first, attempt) == (again, 1)
    assert other != first


def test_mutations_take_no_retry() -> None:
    """The decorator of mutations takes no retry, since a mutation runs exactly once."""
    decorate: Any = internal_mutation
    with pytest.raises(TypeError):
        decorate(retry=Retry())


def test_retried_action_repeats_no_call() -> None:
    """A retried action repeats no call of `ctx.once`, and all attempts have one token."""
    calls: list[str] = []
    attempts: list[Any] = []

    @internal_action(retry=Retry(max_attempts=3))
    def charge(ctx: ActionCtx) -> None:
        attempts.append((ctx.attempt, ctx.idempotency_token))
        ctx.once("charge:1", calls.append)
        if ctx.attempt < 3:
            raise ValueError("the receipt could not be sent")

    clock = Clock()
    with memory_backend(Schema(), [charge], clock=clock) as backend:
        job_id = backend.ctx().scheduler.run_after(0, charge)
        job = run_scheduled(backend, advance=timedelta(minutes=1))[-1]
    assert attempts == [(1, job_id), (2, job_id), (3, job_id)]
    assert len(calls) == 1
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == ("success", ["failed", "failed", "success"])
