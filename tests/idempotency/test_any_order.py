"""Any order of requests, repeats, changed bodies, failures and crashes: each key has its effects once or not at all."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_convex_http import ConvexError, MutationCtx
from flask_convex_http.schema.system_tables import IdempotencyKey, ScheduledFunction
from flask_convex_http.testing import Clock
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.idempotency.shop import Order, add_order, app_of, count, post, router
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES, SAMPLED]

#: The outcomes of a run of the handler, each with its status. The effects and the key of the first two are committed.
STATUSES = {"succeeds": 201, "returns 402": 402, "returns 503": 503, "raises 409": 409, "has a bug": 500}
COMMITTED = ("succeeds", "returns 402")
#: Where the process ends during a request: in the handler, before the commit, or before the client has its response.
CRASHES = ("in the handler", "before the commit", "after the commit")
KEEP = timedelta(hours=1)

#: The key, the body, the outcome of a run, and where the process ends.
Sent = tuple[int, int, str, str | None]
REQUESTS = st.tuples(
    st.integers(0, 1), st.integers(0, 1), st.sampled_from(sorted(STATUSES)), st.sampled_from((*[None] * 6, *CRASHES))
)
#: A request, or minutes that pass.
STORIES = st.lists(st.one_of(REQUESTS, REQUESTS, REQUESTS, st.sampled_from((20, 70))), min_size=2, max_size=12)


class CrashError(BaseException):
    """The process ends: nothing of the package handles this."""


@dataclass
class Shop:
    """An app with an idempotent route, which a crash closes and opens again on its database.

    Attributes:
        folder: The folder of the database.
        clock: The clock.
        app: The app.
        outcome: The outcome of the next run of the handler.
        crash: Where the process ends during the next request, if it does.
        runs: The number of runs of the handler.
    """

    folder: Path
    clock: Clock = field(default_factory=Clock)
    outcome: str = ""
    crash: str | None = None
    runs: int = 0

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self.open()

    def open(self) -> None:
        """Open the app."""
        http = router(self._handle, keep=KEEP)
        self.app: Flask = self._stack.enter_context(app_of(self.folder, http, clock=self.clock, is_kept=True))

    def close(self) -> None:
        """Close the app."""
        self._stack.close()

    def send(self, key: str, item: str) -> TestResponse | None:
        """Send a request, and return its response; None after a crash, which also opens the app again."""
        try:
            with self._crashing():
                return post(self.app, key, item)
        except CrashError:
            self.close()
            self.open()
            return None

    def _handle(self, ctx: MutationCtx, request: Any) -> Any:
        self.runs += 1
        response = add_order(ctx, request)
        self._crash_if("in the handler")
        if self.outcome == "raises 409":
            raise ConvexError("Out of stock", status=409)
        if self.outcome == "has a bug":
            raise ZeroDivisionError
        response.status_code = STATUSES[self.outcome]
        return response

    @contextmanager
    def _crashing(self) -> Iterator[None]:
        """Let the process end at one of the places, during a `with` block."""
        backend = backend_of(self.app)
        keys, write = type(backend.idempotency.keys), backend.engine.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keys, "add", self._then_crash(keys.add, "before the commit"))
            patch.setattr(backend.engine, "write", self._then_crash(write, "after the commit"))
            yield

    def _then_crash(self, call: Callable[..., Any], place: str) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            result = call(*args, **options)
            self._crash_if(place)
            return result

        return run

    def _crash_if(self, place: str) -> None:
        if self.crash == place:
            self.crash = None
            raise CrashError


@dataclass
class Stored:
    """The expected state of a key.

    Attributes:
        item: The body of its request.
        status: The status of its response.
        body: The body of its response, or None if the client has not received it.
        expires: The time at which it can be used again.
    """

    item: str
    status: int
    body: bytes | None
    expires: float


@dataclass
class Expected:
    """The keys and the effects that should be stored.

    Attributes:
        keys: The keys.
        orders: The number of orders.
    """

    keys: dict[str, Stored] = field(default_factory=dict)
    orders: int = 0

    def check(self, shop: Shop, key: str, item: str) -> None:
        """Send a request, and compare its response and the effects with the expected ones."""
        known, runs, crash, outcome = self.keys.get(key), shop.runs, shop.crash, shop.outcome
        response = shop.send(key, item)
        if known is not None and known.expires > shop.clock():
            assert shop.runs == runs
            self._check_retry(known, response, item)
            return
        assert shop.runs == runs + 1
        assert response is None or response.status_code == STATUSES[outcome]
        assert response is None or "Idempotency-Replayed" not in response.headers
        if outcome in COMMITTED and (response is not None or crash == "after the commit"):
            body = None if response is None else response.data
            self.keys[key] = Stored(item, STATUSES[outcome], body, shop.clock() + KEEP / timedelta(milliseconds=1))
            self.orders += 1

    def _check_retry(self, known: Stored, response: TestResponse | None, item: str) -> None:
        if response is None:  # it crashed after the transaction that looked the key up and wrote nothing
            return
        if known.item != item:
            assert response.status_code == 422
            return
        assert (response.status_code, response.headers["Idempotency-Replayed"]) == (known.status, "true")
        assert known.body in (None, response.data)
        known.body = response.data


def test_any_order_has_the_effects_of_each_key_once(tmp_path: Path) -> None:
    """For any requests, repeats, changed bodies, failures and crashes, a key has its effects once or not at all.

    A retry gets the response of the committed run, and another body 422. Orders, jobs and keys are one commit.
    """
    shop, numbers, before = Shop(tmp_path), itertools.count(), [0, 0]

    @given(story=STORIES)
    @settings(max_examples=examples(150, sample=8), deadline=None)
    def check(story: list[Sent | int]) -> None:
        expected, number = Expected(), next(numbers)
        for step in story:
            if isinstance(step, int):
                shop.clock.advance(timedelta(minutes=step))
                continue
            key, item, shop.outcome, shop.crash = step
            expected.check(shop, f"key-{number}-{key}", f"item {item}")
        orders, keys = count(shop.app, Order), count(shop.app, IdempotencyKey)
        assert (orders, count(shop.app, ScheduledFunction)) == (before[0] + expected.orders,) * 2
        assert keys == before[1] + len(expected.keys)
        before[:] = orders, keys

    try:
        check()
    finally:
        shop.close()
