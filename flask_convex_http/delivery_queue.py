"""Webhooks whose handlers a worker runs: recorded and scheduled in one commit, then tried until done or dead.

Each try is a scheduled mutation. The handler's effects, the delivery's new state and what is scheduled next are one
commit with the try's own completion. Of a lane only the first is scheduled; its end, good or bad, schedules the next.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from flask_convex_http.context import MutationCtx
from flask_convex_http.deliveries import Arrival, Deliveries, State
from flask_convex_http.engines.base import Snapshot
from flask_convex_http.errors import DeadLetterError, UnavailableError
from flask_convex_http.failures import text_of
from flask_convex_http.functions import Mutation, internal_mutation
from flask_convex_http.ids import Id
from flask_convex_http.runtime import MutationCalls, Runtime, calls_of
from flask_convex_http.scheduler import Submission
from flask_convex_http.system import Answer, WebhookAttempt, WebhookDelivery
from flask_convex_http.webhook_handlers import DEFAULT_RETRY, Webhook, Webhooks
from flask_convex_http.webhooks.events import WebhookEvent

Outcome = Literal["success", "failed", "dead"]

logger = logging.getLogger("flask_convex_http")

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
        self.put_in(calls, delivery_id, arrival.webhook.source, lane, is_new=known is None)

    def put_in(
        self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], source: str, lane: str | None, *, is_new: bool
    ) -> None:
        """Have a delivery tried: at once, or when it is its turn."""
        rows, transaction = self.deliveries, calls.transaction
        if not is_new:
            rows.wait(transaction, delivery_id, lane)
        if lane is None or rows.queue(transaction, self.runtime.times, source, lane, delivery_id):
            self._schedule(calls, delivery_id, calls.now)

    def process_function(self) -> Mutation[..., None]:
        """`process` as a function that can be scheduled."""

        @internal_mutation
        def process(ctx: MutationCtx, *, delivery: str) -> None:
            self.process(calls_of(ctx), delivery)

        return process

    def process(self, calls: MutationCalls, delivery_id: str) -> None:
        """Try a delivery: its handler's effects, or none, and what comes next."""
        delivery = self.deliveries.get(calls.transaction, delivery_id)
        if delivery is None or delivery.state != "pending":
            return
        webhook, started = self.webhooks.get(delivery.source), self.runtime.clock()
        try:
            calls.attempt(lambda: self._handle(calls, webhook, delivery))
        except DeadLetterError as error:
            self._end(calls, delivery, webhook, self._attempt(started, "dead", error))
        except (Exception, SystemExit) as error:
            if isinstance(error, UnavailableError) and error.by_engine:
                raise  # not the handler's doing: it is tried again as if nothing had been
            self._fail(calls, delivery, webhook, self._attempt(started, "failed", error))
        else:
            self._end(calls, delivery, webhook, self._attempt(started, "success"))

    def take_back(self, calls: MutationCalls, arguments: dict[str, Any], error: str) -> None:
        """What was to try a delivery has failed around its handler: that is a failed attempt, and others follow."""
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
        count = 1 + sum(before.by == "worker" for before in delivery.attempts)
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

    def _schedule(self, calls: MutationCalls, delivery_id: Id[WebhookDelivery], when: float) -> None:
        job = calls.submit(Submission(PROCESS, "mutation", msgspec.json.encode({"delivery": delivery_id}), when))
        self.deliveries.change(calls.transaction, delivery_id, job=job)

    def _attempt(self, started: float, outcome: Outcome, error: BaseException | None = None) -> WebhookAttempt:
        text = None if error is None else text_of(error)
        return WebhookAttempt(started=started, ended=self.runtime.clock(), by="worker", outcome=outcome, error=text)
