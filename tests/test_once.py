"""`ctx.once`: one call per key, the stored result, and rejected arguments."""

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
    """A call is made once, and later calls with the key return its result."""
    service = Service({"charge": "ch_1"})
    with memory_backend(SCHEMA) as backend:
        results = [backend.ctx().once("charge:1", service) for _ in range(3)]
    assert results == [{"charge": "ch_1"}] * 3
    assert len(service.tokens) == 1


def test_each_key_has_its_own_call() -> None:
    """Each key has its own call and its own token, and keys are compared character by character."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        for key in ("a", "A", "a ", "é", "e\u0301", "\U0001f600", "x" * 1000, "a\0b"):
            backend.ctx().once(key, service)
            backend.ctx().once(key, service)
    assert len(set(service.tokens)) == len(service.tokens) == 8


def test_token() -> None:
    """The token depends on the key and the deployment's secret only, and does not reveal the key."""
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
    """A failed call raises its error and stores nothing, and the next attempt has the same token."""
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
    """A call that the end of the process interrupts leaves no row for others to wait for."""

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
    """The call runs outside of all transactions, so that it may read and write."""
    with memory_backend(SCHEMA) as backend:
        ctx = backend.ctx()
        assert ctx.once("a", lambda token: ctx.run_mutation(double, number=4)) == 8


@internal_mutation
def double(ctx: MutationCtx, *, number: int) -> int:
    return 2 * number


def test_not_in_a_mutation() -> None:
    """A mutation has no `once`, and that of an outer action raises FunctionCallError before the call."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        ctx: Any = backend.ctx()

        @internal_mutation
        def call_once(inner: MutationCtx) -> None:
            assert not hasattr(inner, "once")
            ctx.once("a", service)

        with pytest.raises(FunctionCallError, match="inside a mutation"):
            ctx.run_mutation(call_once)
        assert rows(backend) == []
    assert service.tokens == []


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "expected"),
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
def test_results(result: Any, expected: Any) -> None:
    """The stored result is the JSON form of the first result, in which tuples are lists."""
    service = Service(result)
    with memory_backend(SCHEMA) as backend:
        results = [backend.ctx().once("a", service) for _ in range(2)]
    assert results == [expected, expected]
    assert [type(result) for result in results] == [type(expected)] * 2


def circular_list() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


class UnprintableDict(dict[str, Any]):
    def items(self) -> Any:
        raise Boom("\ud800" * 1000)


@pytest.mark.parametrize(
    "result",
    [
        b"bytes",
        {1, 2},
        datetime.now(UTC),
        math.nan,
        {"a": [math.inf]},
        object(),
        Service(),
        circular_list(),
        UnprintableDict(a=1),
    ],
    ids=lambda result: type(result).__name__,
)
def test_result_without_a_json_form(result: Any) -> None:
    """A result without a JSON form raises an error each time, and the call is not repeated."""
    service = Service(result)
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


# --- rejected arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x" * 1001, "\ud800", None, 7, b"key", ["key"]], ids=ascii)
def test_wrong_key(key: Any) -> None:
    """A text that is no key is a 400, because keys often come from clients; a key of another type is a 500."""
    service = Service()
    with memory_backend(SCHEMA) as backend:
        with pytest.raises(ArgumentValidationError, match="once: the key must be a text") as caught:
            backend.ctx().once(key, service)
        assert len(str(caught.value)) < 200
    assert (caught.value.status, service.tokens) == (400 if isinstance(key, str) else 500, [])


@pytest.mark.parametrize("keep", [timedelta(0), -DAY, 0, -1.0, True, None, "1", math.inf, math.nan])
def test_wrong_keep(keep: Any) -> None:
    """A `keep` that is not positive raises FunctionCallError."""
    service = Service()
    with (
        memory_backend(SCHEMA) as backend,
        pytest.raises(FunctionCallError, match=r"keep=.*timedelta or seconds, more than 0"),
    ):
        backend.ctx().once("a", service, keep=keep)
    assert service.tokens == []
