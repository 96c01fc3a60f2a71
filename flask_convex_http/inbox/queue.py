"""Deliveries that a worker runs: recorded and scheduled in one commit, and attempted until done or dead.

Each attempt is a scheduled mutation. The handler's effects, the new state of the delivery and its next job are one
commit with the end of the attempt's job. Only the first delivery of a lane has a job. Its end, good or bad, schedules
the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Literal

import msgspec

from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import DeadLetterError, EngineError, NoRetry, UnavailableError, is_of_transaction
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.ids import Id
from flask_convex_http.inbox.arrival import Arrival
from flask_convex_http.inbox.deliveries import Deliveries
from flask_convex_http.inbox.observed import note_outcome, observe_attempt
from flask_convex_http.inbox.registry import DEFAULT_RETRY, Webhook, Webhooks
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.runtime import MutationCalls, MutationCtx, Runtime, calls_of
from flask_convex_http.scheduling import Submission
from flask_convex_http.schema.system_tables import ScheduledFunction, StoredResponse, WebhookAttempt, WebhookDelivery
from flask_convex_http.webhooks.events import WebhookEvent

Outcome = Literal["success", "failed", "dead"]
LastState = Literal["done", "dead", "unhandled"]

logger = logger_of("webhooks")

#: Milliseconds for which an unknown webhook may belong to a newer version of the application that is starting.
_UNKNOWN_FOR = 60_000.0
_LOOK_AGAIN = 2_000.0
#: The name of the scheduled function that attempts a delivery.
PROCESS = "_webhooks:process"


@contextlib.contextmanager
def _unreadable_logged(delivery_id: str) -> Iterator[None]:
    """Log that a row cannot be read, such as one of a newer version. It must not block the others."""
    try:
        yield
    except UnavailableError:
        raise
    except EngineError as error:
        logger.error("The delivery %s cannot be read, and waits: %s", delivery_id, error)


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """The deliveries that wait for a worker.

    Attributes:
        runtime: Runs the handlers.
        webhooks: The webhooks of the application.
        deliveries: The rows.
    """

    runtime: Runtime
    webhooks: Webhooks
    deliveries: Deliveries

    def add(self, calls: MutationCalls, arrival: Arrival, known: WebhookDelivery | None) -> None:
        """Record a delivery and schedule it. `known` is its row if an immediate run failed before."""
        rows, now = self.deliveries, calls.now
        lane = arrival.webhook.lane(arrival.event)
        if known is None:
            delivery_id = rows.add(calls.transaction, self.runtime.times, now, arrival, "pending", lane=lane)
        else:
            delivery_id = known.id
            rows.restore_request(calls.transaction, arrival, known)
        self.schedule_or_queue(calls, delivery_id, arrival.webhook.source, lane, is_new=known is None)

    def schedule_or_queue(
        self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], source: str, lane: str | None, *, is_new: bool
    ) -> None:
        """Schedule a delivery, or queue it in its lane."""
        rows, transaction = self.deliveries, calls.transaction
        if not is_new:
            rows.wait(transaction, calls.now, delivery_id, lane)
        if lane is None or rows.queue(transaction, self.runtime.times, source, lane, delivery_id):
            self._schedule(calls, delivery_id, calls.now)

    def process_function(self) -> MutationFunction[..., Any]:
        """Return `process` as a function that can be scheduled; its value is that of `process`."""

        def process(ctx: MutationCtx, *, delivery: str) -> Any:
            return self.process(calls_of(ctx), delivery)

        return MutationFunction(process, public=False, on_failure=self.record_failed_run, on_lost=self.record_lost_run)

    def process(self, calls: MutationCalls, delivery_id: str) -> BaseException | None:
        """Attempt a delivery: commit or roll back its handler's effects, and schedule what follows.

        Returns:
            The exception of a failed handler, which is recorded with the attempt; otherwise None.
        """
        delivery = self.deliveries.get(calls.transaction, delivery_id)
        if delivery is None or delivery.state != "pending":
            return None
        webhook, telemetry = self.webhooks.get(delivery.source), self.runtime.telemetry
        if telemetry.is_on:
            run = partial(self._process, calls, delivery, webhook)
            return observe_attempt(telemetry, calls, delivery, webhook, run)
        return self._process(calls, delivery, webhook)

    def _process(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None
    ) -> BaseException | None:
        started = self.runtime.clock()
        if webhook is None and started - delivery.received < _UNKNOWN_FOR:
            self._schedule(calls, delivery.id, started + _LOOK_AGAIN)
            return None
        if webhook is not None and not webhook.handles(delivery.type):
            self._finish(calls, delivery, webhook, "unhandled", started, None)
            return None
        if webhook is not None:
            handler = webhook.handler_name(delivery.type)
            calls.restart_limit(handler)
            calls.note_delivery(delivery.id, delivery.request_id, handler)
        try:
            calls.attempt(lambda: self._handle(calls, webhook, delivery))
        except NoRetry as error:
            self._end(calls, delivery, webhook, self._attempt(started, "dead", error))
        except (Exception, SystemExit) as error:
            if is_of_transaction(error):
                raise  # not the handler's fault: it is retried as if it had not run
            self._fail(calls, delivery, webhook, self._attempt(started, "failed", error))
            return error
        else:
            self._end(calls, delivery, webhook, self._attempt(started, "success"))
        return None

    def record_failed_run(self, ctx: MutationCtx, arguments: dict[str, Any], error: str) -> None:
        """Record a failed attempt for a run of `process` that failed outside the handler, and schedule the next."""
        calls = calls_of(ctx)
        delivery = self.deliveries.get(calls.transaction, str(arguments.get("delivery")))
        if delivery is None or delivery.state != "pending":
            return
        now = self.runtime.clock()
        attempt = WebhookAttempt(started=now, ended=now, by="worker", outcome="failed", error=error)
        self._fail(calls, delivery, self.webhooks.get(delivery.source), attempt)

    def record_lost_run(self, ctx: MutationCtx, arguments: dict[str, Any], error: str) -> float | None:
        """Record a failed attempt for a run of `process` whose process died.

        Returns:
            The milliseconds until the same job runs again, or None if the delivery is dead.
        """
        calls = calls_of(ctx)
        delivery = self.deliveries.get(calls.transaction, str(arguments.get("delivery")))
        if delivery is None or delivery.state != "pending":
            return None
        now, webhook = self.runtime.clock(), self.webhooks.get(delivery.source)
        attempt = WebhookAttempt(started=now, ended=now, by="worker", outcome="failed", error=error)
        return self._record_failure(calls, delivery, webhook, attempt)

    def _handle(self, calls: MutationCalls, webhook: Webhook | None, delivery: WebhookDelivery) -> StoredResponse:
        if webhook is None:
            raise LookupError(f"No webhook of this process has the source {delivery.source!r}; was it renamed?")
        return webhook.handle(calls.ctx(), self.event_of(calls.transaction, webhook, delivery))

    def event_of(self, snapshot: Snapshot, webhook: Webhook, delivery: WebhookDelivery) -> WebhookEvent:
        """Return the event of a delivery, as it was received.

        Raises:
            DeadLetterError: Its body is purged.
        """
        request = self.deliveries.request(snapshot, delivery.id)
        if request is None:
            raise DeadLetterError("Its body was purged; have the sender send it again")
        received, label = delivery.received, delivery.secret_label
        return webhook.provider.event(request.headers, request.body, received_at=received, secret_label=label)

    # --- after an attempt --------------------------------------------------------------------------------------------

    def _fail(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None, attempt: WebhookAttempt
    ) -> None:
        delay = self._record_failure(calls, delivery, webhook, attempt)
        if delay is not None:
            self._schedule(calls, delivery.id, calls.now + delay)

    def _record_failure(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None, attempt: WebhookAttempt
    ) -> float | None:
        """Record a failed attempt, and return the milliseconds until the next one, or None if the delivery is dead."""
        note_outcome("failed", attempt.error)
        retry = DEFAULT_RETRY if webhook is None else webhook.retry
        lately = takewhile(lambda before: before.outcome != "dead", reversed(delivery.attempts))
        count = 1 + sum(before.by == "worker" for before in lately)  # a dead delivery that was retried starts again
        logger.warning(
            "Webhook %s: delivery %s failed in attempt %d of %d: %s",
            delivery.source,
            delivery.event_id,
            count,
            max(count, retry.max_attempts),
            attempt.error,
            extra=EVENT,
        )
        if count >= retry.max_attempts:
            self._end(calls, delivery, webhook, msgspec.structs.replace(attempt, outcome="dead"))
            return None
        self.deliveries.record(calls.transaction, delivery, attempt.ended, "pending", attempt=attempt, webhook=webhook)
        return retry.delay(count)

    def _end(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None, attempt: WebhookAttempt
    ) -> None:
        """End a delivery as done or dead, and schedule the next of its lane."""
        state: LastState = "done" if attempt.outcome == "success" else "dead"
        if state == "dead":
            logger.error(
                "Webhook %s: delivery %s is dead: %s", delivery.source, delivery.event_id, attempt.error, extra=EVENT
            )
        self._finish(calls, delivery, webhook, state, attempt.ended, attempt)

    def _finish(
        self,
        calls: MutationCalls,
        delivery: WebhookDelivery,
        webhook: Webhook | None,
        state: LastState,
        ended: float,
        attempt: WebhookAttempt | None,
    ) -> None:
        """Record the last state of a delivery, and schedule the next of its lane."""
        rows, transaction = self.deliveries, calls.transaction
        note_outcome(state, None if attempt is None else attempt.error)
        if state != "dead":
            kind = delivery.type or "no type"
            logger.info(
                "Webhook %s: delivery %s (%s) is %s", delivery.source, delivery.event_id, kind, state, extra=EVENT
            )
        rows.record(transaction, delivery, ended, state, attempt=attempt, webhook=webhook)
        if delivery.lane is not None:
            rows.leave_lane(transaction, delivery.id)
            self.start_next(calls, delivery.source, delivery.lane)

    def start_next(self, calls: MutationCalls, source: str, lane: str) -> None:
        """Schedule the first delivery of a lane."""
        following = self.deliveries.first_of_lane(calls.transaction, source, lane)
        if following is not None:
            self._schedule(calls, following, calls.now)

    def revive(self, transaction: Transaction, now: float, limit: int) -> int:
        """Schedule pending deliveries whose job is missing, or was unknown to another version of the app.

        A delivery whose job was canceled before canceled deliveries had a state of their own is canceled now.

        Returns:
            The number of deliveries that were checked.
        """
        self.runtime.times.begin(now)
        found = self.deliveries.unchecked(transaction, now, limit)
        for delivery_id in found:
            self.deliveries.postpone_check(transaction, delivery_id, now)
            delivery = self._without_job(transaction, delivery_id)
            if delivery is None:
                continue
            if delivery.job is not None and self.runtime.jobs.is_canceled(transaction, delivery.job):
                self._cancel(transaction, delivery, now)
                continue
            logger.warning("Webhook %s: nothing was to run %s", delivery.source, delivery.event_id)
            self._add_job(transaction, delivery.id, now, now)
        return len(found)

    def cancel(self, transaction: Transaction, job: ScheduledFunction, now: float) -> None:
        """Cancel the delivery of a job that was canceled, and its next attempt. Other deliveries of its lane go on."""
        self.runtime.times.begin(now)
        delivery_id, delivery = str(job.args.get("delivery")), None
        with _unreadable_logged(delivery_id):
            delivery = self.deliveries.get(transaction, delivery_id)
        if delivery is None or delivery.state != "pending":
            return
        following = delivery.job if delivery.job != job.id else None
        if following is not None and self.runtime.jobs.cancel(transaction, following, now):
            return  # it has called this method for the job of the next attempt
        self._cancel(transaction, delivery, now)

    def _cancel(self, transaction: Transaction, delivery: WebhookDelivery, now: float) -> None:
        logger.warning("Webhook %s: delivery %s is canceled", delivery.source, delivery.event_id)
        self.deliveries.cancel(transaction, delivery.id, now, self.webhooks.get(delivery.source))
        if delivery.lane is None:
            return
        self.deliveries.leave_lane(transaction, delivery.id)
        following = self.deliveries.first_of_lane(transaction, delivery.source, delivery.lane)
        if following is not None:
            self._add_job(transaction, following, now, now)

    def _without_job(self, transaction: Transaction, delivery_id: str) -> WebhookDelivery | None:
        """Return a delivery if it has no job that will run it."""
        with _unreadable_logged(delivery_id):
            delivery = self.deliveries.get(transaction, delivery_id)
            return delivery if delivery is not None and self._has_no_job(transaction, delivery) else None
        return None

    def _has_no_job(self, transaction: Transaction, delivery: WebhookDelivery) -> bool:
        if delivery.lane is not None:
            first = self.deliveries.first_of_lane(transaction, delivery.source, delivery.lane)
            if first != delivery.id:
                return False
        job = None if delivery.job is None else self.runtime.jobs.get(transaction, delivery.job)
        return job is None or job.state not in ("pending", "paused")

    def _schedule(self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], when: float) -> None:
        self._add_job(calls.transaction, delivery_id, calls.now, when)
        calls.jobs.announce(when)

    def _add_job(self, transaction: Transaction, delivery_id: Id[WebhookDelivery], now: float, when: float) -> None:
        """Schedule an attempt. It does not count against the handler's limit of scheduled functions."""
        submission = Submission(PROCESS, "mutation", msgspec.json.encode({"delivery": delivery_id}), when)
        job = self.runtime.jobs.add(transaction, self.runtime.times, now, submission)
        self.deliveries.change(transaction, delivery_id, job=job)

    def _attempt(self, started: float, outcome: Outcome, error: BaseException | None = None) -> WebhookAttempt:
        text = None if error is None else text_of(error)
        return WebhookAttempt(started=started, ended=self.runtime.clock(), by="worker", outcome=outcome, error=text)
