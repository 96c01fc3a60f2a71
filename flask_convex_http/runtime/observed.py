"""Publish calls of functions and transactions, while telemetry is on."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from flask_convex_http.functions.function import Function
from flask_convex_http.runtime.caller import Caller
from flask_convex_http.telemetry import FunctionFinished, Telemetry, TransactionFinished

T = TypeVar("T")
R = TypeVar("R")


class ObservedCall:
    """The call of a function, as a context manager.

    Args:
        telemetry: Receives the event.
        function: The function.
        caller: Its caller.
        is_live: Whether it is a run of a live query.
    """

    __slots__ = ("_caller", "_function", "_is_live", "_scope", "_telemetry")

    def __init__(
        self, telemetry: Telemetry, function: Function[Any, Any], caller: Caller, *, is_live: bool = False
    ) -> None:
        self._is_live = is_live
        self._telemetry = telemetry
        self._function = function
        self._caller = caller

    def __enter__(self) -> None:
        name = self._function.name
        self._scope = self._telemetry.enter("function", name, self._caller.request_id, function=name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        function, caller, scope = self._function, self._caller, self._scope
        seconds = self._telemetry.leave(scope)
        job = None if caller.job is None else caller.job.id
        self._telemetry.publish(
            FunctionFinished(scope, function.name, function.kind, seconds, caller.depth > 1, job, error, self._is_live)
        )


class ObservedTransaction:
    """A transaction, as a context manager.

    Args:
        telemetry: Receives the event.
        name: The function, or None for no function.
        label: What runs, if it is no function.
        request_id: The id of the request that has caused it, or None.
    """

    __slots__ = ("_attempts", "_function", "_name", "_request_id", "_scope", "_telemetry", "_wait")

    def __init__(self, telemetry: Telemetry, name: str | None, label: str, request_id: str | None) -> None:
        self._telemetry = telemetry
        self._function = name
        self._name = name or label
        self._request_id = request_id
        self._attempts = 0
        self._wait: float | None = None

    def __enter__(self) -> ObservedTransaction:
        self._scope = self._telemetry.enter("transaction", self._name, self._request_id, function=self._function)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        seconds = self._telemetry.leave(self._scope)
        wait = seconds if self._wait is None else self._wait
        self._telemetry.publish(
            TransactionFinished(self._scope, self._name, seconds, wait, max(self._attempts, 1), error)
        )

    def counted(self, body: Callable[[T], R]) -> Callable[[T], R]:
        """Return a body that notes each of its attempts, and how long it waited for the first."""

        def run(calls: T) -> R:
            if self._wait is None:
                self._wait = self._scope.seconds
            self._attempts += 1
            return body(calls)

        return run
