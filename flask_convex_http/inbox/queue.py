"""Webhooks whose handlers a worker runs: recorded and scheduled in one commit, then tried until done or dead.

Each try is a scheduled mutation. The handler's effects, the delivery's new state and what is scheduled next are one
commit with the try's own completion. Of a lane only the first is scheduled; its end, good or bad, schedules the next.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import msgspec

from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.errors import DeadLetterError, EngineError, UnavailableError, is_of_transaction, text_of
from flask_convex_http.functions.function import Mutation
from flask_convex_http.ids import Id
from flask_convex_http.inbox.deliveries import Arrival, Deliveries, State
from flask_convex_http.inbox.registry import DEFAULT_RETRY, Webhook, Webhooks
from flask_convex_http.runtime.calls import MutationCalls, calls_of
from flask_convex_http.runtime.context import MutationCtx
from flask_convex_http.runtime.runtime import Runtime
from flask_convex_http.scheduling.submission import Submission
from flask_convex_http.schema.system_tables import Answer, WebhookAttempt, WebhookDelivery
from flask_convex_http.webhooks.events import WebhookEvent

Outcome = Literal["success", "failed", "dead"]

logger = logging.getLogger("flask_convex_http")

#: Milliseconds for which a webhook that is not known here may be one of a newer version, which starts at the moment.
_UNKNOWN_FOR = 60_000.0
_LOOK_AGAIN = 2_000.0
#: The scheduled function that tries a delivery.
PROCESS = "_webhooks:process"


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """The deliveries that wait for a worker.

    Attributes:
        runtime: Runs the handlers.
        webhooks: The application's webhooks.
        deliveries: The rows.
    """

    runtime: Runtime
    webhooks: Webhooks
    deliveries: Deliveries

    def add(self, calls: MutationCalls, arrival: Arrival, known: WebhookDelivery | None) -> None:
        """Record a delivery and have it tried; `known` is its row if it failed when its handler was run at once."""
        rows, now = self.deliveries, calls.now
        lane = arrival.webhook.lane(arrival.event)
        if known is None:
            delivery_id = rows.add(calls.transaction, self.runtime.times, now, arrival, "pending", lane=lane)
        else:
            delivery_id = known.id
            rows.keep_again(calls.transaction, self.runtime.times, arrival, delivery_id)
        self.put_in(calls, delivery_id, arrival.webhook.source, lane, is_new=known is None)

    def put_in(
        self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], source: str, lane: str | None, *, is_new: bool
    ) -> None:
        """Have a delivery tried: at once, or when it is its turn."""
        rows, transaction = self.deliveries, calls.transaction
        if not is_new:
            rows.wait(transaction, calls.now, delivery_id, lane)
        if lane is None or rows.queue(transaction, self.runtime.times, source, lane, delivery_id):
            self._schedule(calls, delivery_id, calls.now)

    def process_function(self) -> Mutation[..., Any]:
        """Return `process` as a function that can be scheduled; its value is that of `process`."""

        def process(ctx: MutationCtx, *, delivery: str) -> Any:
            return self.process(calls_of(ctx), delivery)

        return Mutation(process, public=False, on_failure=self.record_failed_run)

    def process(self, calls: MutationCalls, delivery_id: str) -> BaseException | None:
        """Attempt a delivery: commit or roll back its handler's effects, and schedule what follows.

        Returns:
            The exception of a failed handler, which is recorded with the attempt; otherwise None.
        """
        delivery = self.deliveries.get(calls.transaction, delivery_id)
        if delivery is None or delivery.state != "pending":
            return None
        webhook, started = self.webhooks.get(delivery.source), self.runtime.clock()
        if webhook is None and started - delivery.received < _UNKNOWN_FOR:
            self._schedule(calls, delivery.id, started + _LOOK_AGAIN)
            return None
        try:
            calls.attempt(lambda: self._handle(calls, webhook, delivery))
        except DeadLetterError as error:
            self._end(calls, delivery, webhook, self._attempt(started, "dead", error))
        except (Exception, SystemExit) as error:
            if is_of_transaction(error):
                raise  # not the handler's doing: it is tried again as if nothing had been
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

    def _handle(self, calls: MutationCalls, webhook: Webhook | None, delivery: WebhookDelivery) -> Answer:
        if webhook is None:
            raise LookupError(f"No webhook of this process has the source {delivery.source!r}; was it renamed?")
        return webhook.handle(calls.ctx(), self.event_of(calls.transaction, webhook, delivery))

    def event_of(self, snapshot: Snapshot, webhook: Webhook, delivery: WebhookDelivery) -> WebhookEvent:
        """The event of a delivery, as it was received.

        Raises:
            DeadLetterError: Its body is not kept any more.
        """
        request = self.deliveries.request(snapshot, delivery.id)
        if request is None:
            raise DeadLetterError("Its body was forgotten; have the sender send it again")
        received, label = delivery.received, delivery.secret_label
        return webhook.provider.event(request.headers, request.body, received_at=received, secret_label=label)

    # --- what comes next ---------------------------------------------------------------------------------------------

    def _fail(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None, attempt: WebhookAttempt
    ) -> None:
        retry = DEFAULT_RETRY if webhook is None else webhook.retry
        lately = takewhile(lambda before: before.outcome != "dead", reversed(delivery.attempts))
        count = 1 + sum(before.by == "worker" for before in lately)  # one that is dead and was retried begins anew
        logger.warning(
            "Webhook %s: delivery %s failed in attempt %d of %d: %s",
            delivery.source,
            delivery.event_id,
            count,
            max(count, retry.max_attempts),
            attempt.error,
        )
        if count >= retry.max_attempts:
            self._end(calls, delivery, webhook, msgspec.structs.replace(attempt, outcome="dead"))
            return
        self.deliveries.record(calls.transaction, delivery, attempt.ended, "pending", attempt=attempt, webhook=webhook)
        self._schedule(calls, delivery.id, calls.now + retry.delay(count))

    def _end(
        self, calls: MutationCalls, delivery: WebhookDelivery, webhook: Webhook | None, attempt: WebhookAttempt
    ) -> None:
        """A delivery is done or dead; the next of its lane has its turn."""
        rows, transaction = self.deliveries, calls.transaction
        state: State = "done" if attempt.outcome == "success" else "dead"
        if state == "dead":
            logger.error("Webhook %s: delivery %s is dead: %s", delivery.source, delivery.event_id, attempt.error)
        rows.record(transaction, delivery, attempt.ended, state, attempt=attempt, webhook=webhook)
        if delivery.lane is not None:
            rows.leave(transaction, delivery.id)
            self.start_next(calls, delivery.source, delivery.lane)

    def start_next(self, calls: MutationCalls, source: str, lane: str) -> None:
        """Have the first of a lane tried."""
        following = self.deliveries.first_in(calls.transaction, source, lane)
        if following is not None:
            self._schedule(calls, following, calls.now)

    def revive(self, transaction: Transaction, now: float, limit: int) -> int:
        """Have those tried that are pending while nothing is to try them: somebody has canceled that, or another
        version of the application did not know it. Answers how many were looked at."""
        self.runtime.times.begin(now)
        found = self.deliveries.unseen(transaction, now, limit)
        for delivery_id in found:
            self.deliveries.look_later(transaction, delivery_id, now)
            delivery = self._left_alone(transaction, delivery_id)
            if delivery is not None:
                logger.warning("Webhook %s: nothing was to run %s", delivery.source, delivery.event_id)
                self._add_job(transaction, delivery.id, now, now)
        return len(found)

    def _left_alone(self, transaction: Transaction, delivery_id: str) -> WebhookDelivery | None:
        """A delivery, if nothing is to try it."""
        try:
            delivery = self.deliveries.get(transaction, delivery_id)
            return delivery if delivery is not None and self._is_left_alone(transaction, delivery) else None
        except UnavailableError:
            raise
        except EngineError as error:  # a newer version has written it, say; that must not keep the others
            logger.error("The delivery %s cannot be read, and waits: %s", delivery_id, error)
            return None

    def _is_left_alone(self, transaction: Transaction, delivery: WebhookDelivery) -> bool:
        if delivery.lane is not None:
            first = self.deliveries.first_in(transaction, delivery.source, delivery.lane)
            if first != delivery.id:
                return False
        job = None if delivery.job is None else self.runtime.jobs.get(transaction, delivery.job)
        return job is None or job.state != "pending"

    def _schedule(self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], when: float) -> None:
        self._add_job(calls.transaction, delivery_id, calls.now, when)
        calls.jobs.announce(when)

    def _add_job(self, transaction: Transaction, delivery_id: Id[WebhookDelivery], now: float, when: float) -> None:
        """Schedule a try. It does not count as one of those that the handler may schedule."""
        submission = Submission(PROCESS, "mutation", msgspec.json.encode({"delivery": delivery_id}), when)
        job = self.runtime.jobs.add(transaction, self.runtime.times, now, submission)
        self.deliveries.change(transaction, delivery_id, job=job)

    def _attempt(self, started: float, outcome: Outcome, error: BaseException | None = None) -> WebhookAttempt:
        text = None if error is None else text_of(error)
        return WebhookAttempt(started=started, ended=self.runtime.clock(), by="worker", outcome=outcome, error=text)
