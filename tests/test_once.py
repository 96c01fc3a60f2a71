"""`ctx.once`: that a call is made once, what is remembered of it and for how long."""

import math
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http import (
    ArgumentValidationError,
    CallInProgressError,
    FunctionCallError,
    MutationCtx,
    ReturnsValidationError,
    internal_mutation,
)
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, memory_backend, temporary_config
from tests.services import SCHEMA, Boom, Service, rows

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

DAY = timedelta(days=1)
SECRET = "a secret of the deployment, long enough"


# --- one call --------------------------------------------------------------------------------------------------------


def test_one_call() -> None:
    """A call is made once; whoever asks for it later gets the result it had then."""
    service = Service({"charge": "ch_1"})
    with memory_backend(SCHEMA) as backend:
        results = [backend.ctx().once("charge:1", service) for _ in range(3)]
    assert results == [{"charge": "ch_1"}] * 3
    assert len(service.tokens) == 1


def test_keys_are_calls_of_their_own() -> None:
    """Each key is a call of its own, with a token of its own; keys are compared letter by letter."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        for key in ("a", "A", "a ", "é", "e\u0301", "\U0001f600", "x" * 1000, "a\0b"):
            backend.ctx().once(key, service)
            backend.ctx().once(key, service)
    assert len(set(service.tokens)) == len(service.tokens) == 8


def test_token() -> None:
    """The token depends on the key and the deployment's secret only, and the key cannot be read off it."""
    service = Service()
    for secret, keys in ((SECRET, ("order_17", "order_18")), (SECRET, ("order_17",)), (SECRET[::-1], ("order_17",))):
        with (
            temporary_config(SCHEMA) as config,
            closing(
                Backend(Settings.from_mapping(config | {"CONVEX_SECRET": secret}), SCHEMA, folder=Path())
            ) as backend,
        ):
            backend.migrate()
            for key in keys:
                backend.ctx().once(key, service)
    first, other_key, again, other_secret = service.tokens
    assert first == again
    assert len({first, other_key, other_secret}) == 3
    assert "order" not in first
    assert len(first) >= 40


def test_failed_call() -> None:
    """What the call raises comes out, nothing is remembered, and the next try has the same token."""
    service = Service("paid")
    service.is_down = True
    with memory_backend(SCHEMA) as backend:
        with pytest.raises(Boom):
            backend.ctx().once("charge:1", service)
        assert rows(backend) == []
        service.is_down = False
        assert backend.ctx().once("charge:1", service) == "paid"
    assert len(service.tokens) == 2
    assert len(set(service.tokens)) == 1


def test_interrupted_call() -> None:
    """A call that is interrupted, by the process's end say, leaves nothing that others would have to wait for."""

    def interrupted(token: str) -> None:
        raise SystemExit

    with memory_backend(SCHEMA) as backend:
        with pytest.raises(SystemExit):
            backend.ctx().once("a", interrupted)
        assert backend.ctx().once("a", Service(1)) == 1


def test_call_within_a_call() -> None:
    """A call may make other calls once, but not itself."""
    inner, outer = Service("inner"), Service("outer")
    with memory_backend(SCHEMA) as backend:
        ctx = backend.ctx()

        def call(token: str) -> list[Any]:
            return [ctx.once("inner", inner), outer(token)]

        def itself(token: str) -> Any:
            return ctx.once("itself", itself)

        assert ctx.once("outer", call) == ["inner", "outer"]
        assert ctx.once("inner", inner) == "inner"
        assert [len(service.tokens) for service in (inner, outer)] == [1, 1]
        with pytest.raises(CallInProgressError):
            ctx.once("itself", itself)


def test_call_runs_functions() -> None:
    """No transaction is open while the call is made: it may read and write by itself, and nobody waits for it."""
    with memory_backend(SCHEMA) as backend:
        ctx = backend.ctx()
        assert ctx.once("a", lambda token: ctx.run_mutation(double, number=4)) == 8


@internal_mutation
def double(ctx: MutationCtx, *, number: int) -> int:
    return 2 * number


def test_not_in_a_mutation() -> None:
    """In a mutation there is no once, and the one of an action around it refuses before the call is made."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        ctx: Any = backend.ctx()

        @internal_mutation
        def sly(inner: MutationCtx) -> None:
            assert not hasattr(inner, "once")
            ctx.once("a", service)

        with pytest.raises(FunctionCallError, match="inside a mutation"):
            ctx.run_mutation(sly)
        assert rows(backend) == []
    assert service.tokens == []


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "remembered"),
    [
        (None, None),
        (True, True),
        (2**80, 2**80),
        (0.1, 0.1),
        ("\u2028 \U0001f600 \0 \ud800", "\u2028 \U0001f600 \0 \ud800"),
        ((1, (2, [3])), [1, [2, [3]]]),
        ({"a": {"b": (1,)}}, {"a": {"b": [1]}}),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_results(answer: Any, remembered: Any) -> None:
    """The first answer is the one that is remembered, as JSON has it: tuples are lists."""
    service = Service(answer)
    with memory_backend(SCHEMA) as backend:
        results = [backend.ctx().once("a", service) for _ in range(2)]
    assert results == [remembered, remembered]
    assert [type(result) for result in results] == [type(remembered)] * 2


def endless() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


class Sly(dict[str, Any]):
    def items(self) -> Any:
        raise Boom("\ud800" * 1000)


@pytest.mark.parametrize(
    "answer",
    [b"bytes", {1, 2}, datetime.now(UTC), math.nan, {"a": [math.inf]}, object(), Service(), endless(), Sly(a=1)],
    ids=lambda answer: type(answer).__name__,
)
def test_result_that_json_cannot_hold(answer: Any) -> None:
    """A result that JSON cannot hold is an error, now and later, but the call is not made again: it was made."""
    service = Service(answer)
    with memory_backend(SCHEMA) as backend:
        messages = []
        for _ in range(3):
            with pytest.raises(ReturnsValidationError, match="the call was made and will not be made again") as caught:
                backend.ctx().once("charge:1", service)
            messages.append(str(caught.value))
        assert len(set(messages)) == 1
        assert messages[0].startswith("once('charge:1')")
        assert len(messages[0]) < 300
    assert len(service.tokens) == 1


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x" * 1001, "\ud800", None, 7, b"key", ["key"]], ids=ascii)
def test_wrong_key(key: Any) -> None:
    """A key that is no text of 1 to 1000 characters is refused before the call: as the client's fault, since keys are
    often made of what clients send."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        with pytest.raises(ArgumentValidationError, match="once: the key must be a text") as caught:
            backend.ctx().once(key, service)
        assert len(str(caught.value)) < 200
    assert (caught.value.status, service.tokens) == (400, [])


@pytest.mark.parametrize("keep", [timedelta(0), -DAY, 0, -1.0, True, None, "1", math.inf, math.nan])
def test_wrong_keep(keep: Any) -> None:
    """How long the result is remembered is a positive timedelta or number of seconds."""
    service = Service()
    with (
        memory_backend(SCHEMA) as backend,
        pytest.raises(FunctionCallError, match=r"keep=.*timedelta or seconds, more than 0"),
    ):
        backend.ctx().once("a", service, keep=keep)
    assert service.tokens == []
