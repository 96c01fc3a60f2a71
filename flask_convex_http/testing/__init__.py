"""Helpers for tests of applications: a temporary backend, a clock that stands still, and signed deliveries.

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        item_id = backend.ctx().run_mutation(items.create, name="Lamp")

`run_scheduled` runs jobs in the test, and moves the clock, which stands still from then on:

    with memory_backend(schema, functions=["my_app.items"]) as backend:
        backend.ctx().run_mutation(items.create_later, name="Lamp")
        run_scheduled(backend, advance=timedelta(hours=1))

`deliver` stands in for a webhook's sender:

    responses = deliver(app.test_client(), "stripe", "checkout.session.completed", duplicate=3)
    assert [response.status_code for response in responses] == [200, 200, 200]

For tests of endpoints, give the app `CONVEX_DATABASE_URL="sqlite:///:memory:"` and `TESTING=True`, and call
`convex.migrate()` in its app context. Without `TESTING` the first request starts a worker.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, overload

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_convex_http.backend import Backend, Functions, system_clock
from flask_convex_http.config import MEMORY, Settings, hide_password
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.inbox.queue import PROCESS
from flask_convex_http.inbox.registry import DeclinedError
from flask_convex_http.inbox.search import find_webhook, sender_of
from flask_convex_http.inbox.tenants import with_secrets
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext
from flask_convex_http.scheduling import Crons
from flask_convex_http.scheduling.jobs import KINDS
from flask_convex_http.schema.documents import Schema
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.web.state import backend_of, raises_unexpected
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.worker import ActionRunner, AttemptResult, MutationRunner

logger = logger_of("jobs")

#: The server of a test client.
_URL = "http://localhost"
#: Jobs that `run_scheduled` runs before it raises an error.
_MAX_RUNS = 10_000


class Clock:
    """A clock that stands still until it is moved. Pass it as `clock=` to a backend or an extension.

    Args:
        now: The time at which it starts, an aware datetime. The default is the current time.

    Raises:
        ValueError: The datetime is naive.
    """

    def __init__(self, now: datetime | None = None) -> None:
        if now is not None and now.tzinfo is None:
            raise ValueError(f"Clock({now!r}) needs a time zone: write datetime(2027, 1, 1, tzinfo=UTC)")
        self._now = time.time() * 1000 if now is None else now.timestamp() * 1000

    def __call__(self) -> float:
        """Return the time in milliseconds since the epoch."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the clock forward, or back by a negative duration."""
        self._now += by.total_seconds() * 1000

    def advance_to(self, time: float) -> None:
        """Move the clock forward to a time in milliseconds since the epoch. A later clock stays as it is."""
        self._now = max(self._now, time)


@contextmanager
def memory_backend(
    schema: Schema,
    functions: Functions = (),
    *,
    crons: Crons | None = None,
    clock: Callable[[], float] = system_clock,
    database_url: str = MEMORY,
) -> Iterator[Backend]:
    """Open a migrated backend on a temporary database, for a `with` statement.

    Args:
        schema: The application's tables.
        functions: The application's functions, as `ConvexHTTP` takes them.
        crons: The application's crons.
        clock: Returns the current time in milliseconds since the epoch.
        database_url: Another empty database, such as a PostgreSQL one. It is not removed at the end.
    """
    settings = Settings.from_mapping({"CONVEX_DATABASE_URL": database_url, "CONVEX_STORAGE_URL": MEMORY})
    backend = Backend(settings, schema, functions, crons=crons, folder=Path(), clock=clock)
    try:
        backend.migrate()
        yield backend
    finally:
        backend.close()


def use_clock(target: Backend | Flask, clock: Clock | None = None) -> Clock:
    """Let a backend, or an app with one, use a `Clock` from now on, and return it.

    This works at any time, so also for an app that a module has created.

    Args:
        target: A backend, or an app with one.
        clock: The clock. By default the one that the backend uses already, or a new one that starts now.
    """
    backend = _backend_of(target)
    source = backend.clock.source
    chosen = clock or (source if isinstance(source, Clock) else Clock())
    backend.clock.source = chosen
    return chosen


class ScheduledRun(list[ScheduledFunction]):
    """The jobs that `run_scheduled` ran, in order.

    Attributes:
        later: The jobs that are due later than the clock shows, those that wait for a retry included, the first one
            first.
    """

    def __init__(self, ran: Iterable[ScheduledFunction], later: list[ScheduledFunction]) -> None:
        super().__init__(ran)
        self.later = later


def run_scheduled(target: Backend | Flask, *, advance: timedelta | None = None) -> ScheduledRun:
    """Run due jobs and crons in this thread, in the order of their time, until none is due.

    Args:
        target: A backend, or an app with one.
        advance: How far to move the backend's `Clock`. It stops at each time at which a job or cron is due. A backend
            that follows the system's time gets a `Clock` that stands still from then on.

    Returns:
        The jobs in the order in which they ran, as they are afterwards: see their `state` and `error`. Jobs that are
        due later are in its attribute `later` and in the log, as a warning if they wait for a retry.

    Raises:
        RuntimeError: More than 10,000 jobs ran, or the app is not one for tests.
        TypeError: `advance` is given, but the backend has a clock of another class.
        BaseException: An error of a function that is no `Exception`, such as a failure of pytest. With `TESTING` or
            `PROPAGATE_EXCEPTIONS`, also an error of the handler of a webhook with `mode="enqueue"`.
    """
    if advance is not None and not (isinstance(advance, timedelta) and advance >= timedelta(0)):
        raise TypeError(f"run_scheduled(advance={advance!r}) takes a timedelta of 0 or more")
    backend = _backend_of(target)
    if isinstance(target, Backend):
        return _Runner(target, nullcontext).run(advance)
    if not target.testing and backend.settings.database_url != MEMORY:
        place = hide_password(backend.settings.database_url)
        raise RuntimeError(
            f"run_scheduled() would run the pending jobs in {place}, for real; give the app TESTING=True, or "
            f"CONVEX_DATABASE_URL={MEMORY!r}"
        )
    return _Runner(backend, target.app_context, propagates=raises_unexpected(target)).run(advance)


def _backend_of(target: Backend | Flask) -> Backend:
    if isinstance(target, Backend):
        return target
    if not isinstance(target, Flask):
        raise TypeError(f"It takes a backend or a Flask app, not {target!r}")
    return backend_of(target)


def _raise_unexpected(error: BaseException | None) -> None:
    """Raise the exception of a webhook's handler, unless the handler meant it as the response to the sender."""
    is_meant = isinstance(error, DeclinedError) or (isinstance(error, ConvexHTTPError) and error.public)
    if error is not None and not is_meant:
        raise error


class _Runner:
    """Runs due jobs one at a time."""

    def __init__(self, backend: Backend, app_context: AppContext, *, propagates: bool = False) -> None:
        self._backend = backend
        self._propagates = propagates
        self._ticks = backend.ticks
        self._mutations = MutationRunner(backend, app_context)
        self._actions = ActionRunner(backend, app_context)
        self._ran: list[str] = []

    def run(self, advance: timedelta | None) -> ScheduledRun:
        backend = self._backend
        backend.register_crons()
        if advance is None:
            self._run_due()
        else:
            self._run_while_moving(advance)
        with backend.engine.snapshot() as snapshot:
            rows = [backend.jobs.get(snapshot, job_id) for job_id in dict.fromkeys(self._ran)]
            pending = [job for kind in KINDS for job in backend.jobs.in_state(snapshot, "pending", kind)]
        later = sorted(pending, key=lambda job: job.due)
        self._log_later(later)
        return ScheduledRun((row for row in rows if row is not None), later)

    def _log_later(self, later: list[ScheduledFunction]) -> None:
        if not later:
            return
        is_retry = any(job.attempts for job in later)
        logger.log(
            logging.WARNING if is_retry else logging.INFO,
            "run_scheduled() leaves %d %s for later; the first, %s, is due in %.3f s: advance= moves the clock",
            len(later),
            "jobs, retries included," if is_retry else "jobs",
            later[0].name,
            (later[0].due - self._backend.clock()) / 1000,
        )

    def _run_while_moving(self, by: timedelta) -> None:
        source = self._backend.clock.source
        if source is not None and not isinstance(source, Clock):
            raise TypeError("advance= moves a Clock, and this backend has another clock: call use_clock() first")
        clock = use_clock(self._backend)
        end = clock() + by.total_seconds() * 1000
        while (due := self._next_due()) <= end:
            clock.advance_to(due)  # exactly: a timedelta is rounded, and might never get there
            self._run_due()
        clock.advance_to(end)

    def _run_due(self) -> None:
        while self._next_due() <= self._backend.clock():
            self._run_next()
            if len(self._ran) > _MAX_RUNS:
                raise RuntimeError(f"More than {_MAX_RUNS} jobs ran; does one schedule itself without a delay?")

    def _run_next(self) -> None:
        tick, mutation, action = self._times()
        if tick <= min(mutation, action):
            self._backend.fire_crons()
        elif mutation <= action:
            self._collect(self._mutations.run(1))
        else:
            self._collect(self._actions.run_one())

    def _collect(self, results: Sequence[AttemptResult]) -> None:
        for result in results:
            self._ran.append(result.job.id)
            if result.error is not None and not isinstance(result.error, Exception):  # Ctrl-C, or pytest.fail()
                raise result.error
            if self._propagates and result.job.name == PROCESS:
                _raise_unexpected(result.value)

    def _next_due(self) -> float:
        return min(self._times())

    def _times(self) -> tuple[float, float, float]:
        jobs = self._backend.jobs
        with self._backend.engine.snapshot() as snapshot:
            times = (
                self._ticks.next_tick(snapshot, self._backend.clock()),
                jobs.next_due(snapshot, "mutation"),
                jobs.next_due(snapshot, "action"),
            )
        tick, mutation, action = (math.inf if time is None else time for time in times)
        return tick, mutation, action


# --- webhooks --------------------------------------------------------------------------------------------------------


class Responses(Sequence[TestResponse]):
    """The responses to deliveries, in the order in which these were sent.

    Attributes:
        status_code: The status of the last response.
        text: The body of the last response.
        json: The body of the last response as JSON, or None if it is not JSON.
    """

    def __init__(self, responses: Sequence[TestResponse]) -> None:
        self._responses = tuple(responses)
        self.status_code: int = self._responses[-1].status_code
        self.text: str = self._responses[-1].text
        self.json: Any = self._responses[-1].get_json(silent=True)

    @overload
    def __getitem__(self, index: int) -> TestResponse: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TestResponse]: ...
    def __getitem__(self, index: int | slice) -> TestResponse | Sequence[TestResponse]:
        return self._responses[index]

    def __len__(self) -> int:
        return len(self._responses)

    def __repr__(self) -> str:
        return f"<Responses {', '.join(response.status for response in self)}>"


#: The former name of `Responses`.
Answers = Responses


def deliver(
    client: FlaskClient,
    provider: str | Provider,
    event: str | Sequence[str] | Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    path: str | None = None,
    duplicate: int = 1,
    reorder: bool = False,
    seed: int | None = None,
    late: timedelta | None = None,
    tamper: bool = False,
    old_secret: bool = False,
    fresh_id: bool = False,
    event_id: str | None = None,
    event_type: str | None = None,
) -> Responses:
    """Send signed deliveries to a webhook of the app as its sender would, with faults on request.

    Duplicates are sent one after another, because a test client is not thread-safe. To send them at the same moment,
    start the app and use `flask convex webhooks send --duplicate`.

    Args:
        client: A test client of the app.
        provider: The webhook's source or path, its provider's name, a sender such as "clerk", or a provider.
        event: The type of a sample event, several types in the order in which they happen, or a whole payload.
        data: Changes of the sample event, merged deeply: for Stripe into `data.object`, for Slack into `event`, for
            senders that have `data` into that, otherwise into the payload. With data the type may be any.
        path: The path to send it to. By default the webhook's; required with a provider that the app does not have.
        duplicate: How many times each delivery is sent, byte for byte the same.
        reorder: Send several events in another order than they happened.
        seed: Chooses the order of `reorder`. By default it is random.
        late: How long ago the event happened and was signed.
        tamper: Change the body after it was signed.
        old_secret: Sign with the last of several secrets. If the webhook has only one, a random secret signs.
        fresh_id: Send each delivery once more under another id, as someone without the secret could.
        event_id: The id of the only event. By default it is new.
        event_type: The type of a whole payload, for senders that put it into a header, as GitHub does.

    Returns:
        The responses in the order of sending.

    Raises:
        ValueError: There is no such webhook or sample, or the arguments do not fit together.
        MissingSecretError: The webhook has no secret that can sign.
    """
    faults = Faults(
        duplicate=duplicate,
        reorder=reorder,
        seed=seed,
        late=late,
        tamper=tamper,
        old_secret=old_secret,
        fresh_id=fresh_id,
    )
    backend = backend_of(client.application)
    signing, sender, target = _target(backend, provider, path)
    deliveries = make_deliveries(
        signing,
        event,
        faults,
        now=backend.clock(),
        sender=sender,
        data=data,
        event_id=event_id,
        event_type=event_type,
        url=_URL + target,
    )
    return Responses(
        [
            client.post(delivery.url.removeprefix(_URL), data=delivery.body, headers=dict(delivery.headers))
            for delivery in deliveries
            for _ in range(delivery.count)
        ]
    )


def _target(backend: Backend, provider: str | Provider, path: str | None) -> tuple[Provider, str, str]:
    """Return the provider that signs, the sender of the sample events, and the path."""
    if isinstance(provider, str):
        webhook = with_secrets(backend.runtime, find_webhook(backend.webhooks, provider))
        return webhook.provider, sender_of(webhook, provider), path or webhook.path
    registered = next((webhook.path for webhook in backend.webhooks if webhook.provider is provider), None)
    target = path or registered
    if target is None:
        raise ValueError(f"This app has no webhook with that {provider!r}: give path=, or name the webhook's source")
    return provider, provider.name, target
