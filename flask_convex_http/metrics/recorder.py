"""Notes what has happened: the subscriber of `telemetry`, called in the threads that serve requests and run jobs.

It only notes numbers with their labels; the meter adds them up elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flask_convex_http.inbox.registry import Webhooks
from flask_convex_http.metrics.definitions import (
    ATTEMPTS,
    CALL_SECONDS,
    CALLS,
    COMMIT_SECONDS,
    DELIVERIES,
    GROUP_SIZE,
    LAG_SECONDS,
    REJECTED,
    REQUEST_SECONDS,
    REQUESTS,
    RETRIES,
    TRANSACTION_SECONDS,
    WRITE_WAIT_SECONDS,
    Metric,
)
from flask_convex_http.metrics.meter import Meter
from flask_convex_http.metrics.totals import Labels, Totals
from flask_convex_http.telemetry import (
    DeliveryFinished,
    DeliveryRejected,
    Event,
    FunctionFinished,
    GroupCommitted,
    JobFinished,
    RequestFinished,
    RequestGroup,
    TransactionFinished,
)

#: The label of requests that no route matched. Rules begin with a slash.
UNMATCHED = "unmatched"


class Recorder:
    """Notes events.

    Args:
        meter: Adds them up.
        webhooks: The webhooks of the application.
    """

    def __init__(self, meter: Meter, webhooks: Webhooks) -> None:
        self._meter = meter
        self._webhooks = webhooks
        self._requests = meter.samples(partial(_count_and_observe, REQUESTS, REQUEST_SECONDS))
        self._calls = meter.samples(partial(_count_and_observe, CALLS, CALL_SECONDS))
        self._transactions = meter.samples(partial(_observe, TRANSACTION_SECONDS))
        self._waits = meter.samples(partial(_observe, WRITE_WAIT_SECONDS))
        self._retries = meter.samples(partial(_add, RETRIES))
        self._groups = meter.samples(partial(_observe, GROUP_SIZE))
        self._commits = meter.samples(partial(_observe, COMMIT_SECONDS))
        self._deliveries = meter.samples(partial(_add, DELIVERIES))
        self._rejected = meter.samples(partial(_add, REJECTED))
        self._attempts = meter.samples(partial(_add, ATTEMPTS))
        self._lags = meter.samples(partial(_observe, LAG_SECONDS))
        self._by_type: dict[type, Callable[[Any], None]] = {
            RequestFinished: self._note_request,
            FunctionFinished: self._note_function,
            TransactionFinished: self._note_transaction,
            GroupCommitted: self._note_group,
            DeliveryFinished: self._note_delivery,
            DeliveryRejected: self._note_rejection,
            JobFinished: self._note_job,
        }

    def note(self, event: Event) -> None:
        """Note an event. Thread-safe."""
        self._by_type[type(event)](event)

    def wake(self) -> None:
        """Let the thread of the meter collect requests."""
        self._meter.ensure_thread()

    def take(self, groups: Sequence[RequestGroup]) -> None:
        """Note requests."""
        for group in groups:
            key = group.method, group.route or UNMATCHED, group.status
            self._requests.note_all(key, [seconds for _, seconds, _ in group.timings])

    def _note_request(self, event: RequestFinished) -> None:
        self._requests.note((event.method, event.route or UNMATCHED, event.status), event.seconds)

    def _note_function(self, event: FunctionFinished) -> None:
        self._calls.note((event.name, event.kind, _outcome(event.error)), event.seconds)

    def _note_transaction(self, event: TransactionFinished) -> None:
        self._transactions.note((_outcome(event.error),), event.seconds)
        self._waits.note((), event.wait)
        if event.attempts > 1:
            self._retries.note((), event.attempts - 1)

    def _note_group(self, event: GroupCommitted) -> None:
        self._groups.note((), event.size)
        self._commits.note((), event.seconds)

    def _note_delivery(self, event: DeliveryFinished) -> None:
        self._deliveries.note((self._source(event.source), event.state), 1)

    def _note_rejection(self, event: DeliveryRejected) -> None:
        self._rejected.note((self._source(event.source), event.reason), 1)

    def _note_job(self, event: JobFinished) -> None:
        self._attempts.note((event.name, event.outcome), 1)
        if event.lag is not None:
            self._lags.note((), event.lag)

    def _source(self, source: str) -> str:
        """Return the source of a webhook, which its tenants share."""
        tenants = [webhook for webhook in self._webhooks if webhook.tenant_in(source)]
        return tenants[0].source if tenants else source


def _outcome(error: BaseException | None) -> str:
    return "success" if error is None else "error"


# --- adding up -------------------------------------------------------------------------------------------------------


def _add(counter: Metric, totals: Totals, labels: Labels, values: list[float]) -> None:
    totals.count(counter, labels, sum(values))


def _observe(histogram: Metric, totals: Totals, labels: Labels, values: list[float]) -> None:
    totals.observe(histogram, labels, values)


def _count_and_observe(counter: Metric, histogram: Metric, totals: Totals, labels: Labels, values: list[float]) -> None:
    """Count values, and observe them without the last label, which says how it ended."""
    totals.count(counter, labels, len(values))
    totals.observe(histogram, labels[:-1], values)
