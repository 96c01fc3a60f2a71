"""Reruns of deliveries, for the command line, the dashboard and tests.

    replay      run a handler again; effects that exist happen a second time
    retry       run a failed, dead or stuck delivery; a done one is refused

Servers and senders continue concurrently. Every decision is therefore made inside the transaction that acts on it, and
the handler's effects and the attempt are one commit. A failed run leaves no effects, and a second transaction records
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import MissingSecretError, NoRetry, VerificationError, is_engine_failure
from flask_convex_http.inbox.deliveries import Deliveries
from flask_convex_http.inbox.inbox import Inbox, plain_response, stop_response
from flask_convex_http.inbox.observed import note_outcome, observe_rerun
from flask_convex_http.inbox.queue import DeliveryQueue
from flask_convex_http.inbox.registry import DeclinedError, Webhook
from flask_convex_http.inbox.rerun_results import (
    Preview,
    RefusedError,
    RerunResult,
    failed,
    named,
    refused,
    unknown,
    without_body,
)
from flask_convex_http.inbox.tenants import webhook_of_tenant
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.runtime import MutationCalls, Runtime
from flask_convex_http.runtime.dry_run import dry_run
from flask_convex_http.schema.system_tables import WebhookAttempt, WebhookDelivery
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent
from flask_convex_http.webhooks.headers import ELEMENT

logger = logger_of("webhooks")

By = Literal["retry", "replay"]


@dataclass(frozen=True, slots=True)
class Replays:
    """Reruns deliveries. Use it in an application context, which handlers expect.

    Attributes:
        inbox: Holds the deliveries.
    """

    inbox: Inbox

    def replay(self, delivery_id: str) -> RerunResult:
        """Run a handler again, whether it has run or not. The signature is verified as of the time of arrival.

        Args:
            delivery_id: The delivery.

        Raises:
            OverloadedError: The writer was not free in time. Nothing was run.
        """
        return self._run(delivery_id, "replay", partial(self._replay, self._provider_of(delivery_id)))

    def preview(self, delivery_id: str) -> Preview | RerunResult:
        """Return the effects that a replay would have, or a step if nothing can be run."""
        try:
            return self._preview(delivery_id, self._provider_of(delivery_id))
        except RefusedError as error:
            return error.step

    def retry(self, delivery_id: str) -> RerunResult:
        """Run a delivery whose effects have not happened, at once or by a worker, as its webhook is configured.

        Args:
            delivery_id: The delivery.

        Raises:
            OverloadedError: The writer was not free in time. Nothing was run.
        """
        step = self._run(delivery_id, "retry", self._retry)
        if step.outcome == "queued":
            self._runtime.jobs.announce(self._runtime.clock())
        return step

    # --- running ---------------------------------------------------------------------------------------------------

    def _run(self, delivery_id: str, by: By, body: Callable[[MutationCalls, str, float], RerunResult]) -> RerunResult:
        telemetry = self._runtime.telemetry
        delivery = self._stored(delivery_id) if telemetry.is_on else None
        if delivery is None:
            return self._attempt(delivery_id, by, body)
        webhook = self.inbox.webhooks.get(delivery.source)
        return observe_rerun(telemetry, delivery, webhook, lambda: self._attempt(delivery_id, by, body))

    def _attempt(
        self, delivery_id: str, by: By, body: Callable[[MutationCalls, str, float], RerunResult]
    ) -> RerunResult:
        runtime, started = self._runtime, self._runtime.clock()
        try:
            result = runtime.write(lambda calls: body(calls, delivery_id, started), runtime.caller())
        except RefusedError as error:
            return error.step
        except (Exception, SystemExit) as error:
            if is_engine_failure(error):
                raise
            attempt = self._failure(started, by, error)
            self._runtime.engine.write(lambda transaction: self._record_attempt(transaction, delivery_id, attempt))
            note_outcome("dead" if attempt.outcome == "dead" else "failed", attempt.error)
            return failed(delivery_id, attempt)
        note_outcome("accepted" if result.outcome == "queued" else "done")
        return result

    def _replay(self, provider: Provider | None, calls: MutationCalls, delivery_id: str, started: float) -> RerunResult:
        delivery, webhook = self._found(calls.transaction, delivery_id)
        if delivery.state == "pending":
            raise refused(delivery, "it has not run yet, and a worker is to run it; `retry` has that done now")
        event = self._verified(calls.transaction, webhook, delivery, provider)
        return self._handle(calls, webhook, delivery, event, "replay", started)

    def _retry(self, calls: MutationCalls, delivery_id: str, started: float) -> RerunResult:
        delivery, webhook = self._found(calls.transaction, delivery_id)
        if delivery.state == "done":
            raise refused(delivery, "its effects are there; `replay` has them happen again")
        if delivery.state == "pending":
            return self._run_soon(calls, delivery)
        event = self._event(calls.transaction, webhook, delivery)
        if webhook.mode == "enqueue":
            return self._enqueue(calls, webhook, delivery, event)
        return self._handle(calls, webhook, delivery, event, "retry", started)

    def _handle(
        self,
        calls: MutationCalls,
        webhook: Webhook,
        delivery: WebhookDelivery,
        event: WebhookEvent,
        by: By,
        started: float,
    ) -> RerunResult:
        """Commit the effects and the attempt. A done delivery keeps the response its sender got."""
        calls.note_delivery(delivery.id, None, webhook.handler_name(event.type))
        answer = webhook.handle(calls.ctx(), event)
        now = self._runtime.clock()
        attempt = WebhookAttempt(started=started, ended=now, by=by)
        if delivery.state == "done":
            self._deliveries.add_attempt(calls.transaction, delivery, attempt)
        else:
            kept = None if answer == plain_response(webhook.provider) else answer
            self._deliveries.record(
                calls.transaction, delivery, now, "done", attempt=attempt, answer=kept, webhook=webhook
            )
        return RerunResult(delivery.id, "done", f"{named(delivery)}: {webhook.handler_name(event.type)} has run")

    def _failure(self, started: float, by: By, error: BaseException) -> WebhookAttempt:
        outcome: Literal["failed", "dead"] = "dead" if isinstance(error, NoRetry) else "failed"
        text = str(error) if isinstance(error, DeclinedError) else text_of(error)
        return WebhookAttempt(started=started, ended=self._runtime.clock(), by=by, outcome=outcome, error=text)

    def _record_attempt(self, transaction: Transaction, delivery_id: str, attempt: WebhookAttempt) -> None:
        """Record an attempt whose effects were rolled back. A done delivery stays done, or a duplicate would run."""
        delivery = self._deliveries.get(transaction, delivery_id)
        if delivery is None:  # it was purged concurrently
            return
        logger.warning(
            "Webhook %s: delivery %s failed again: %s", delivery.source, delivery.event_id, attempt.error, extra=EVENT
        )
        webhook = self.inbox.webhooks.get(delivery.source)
        if delivery.state not in ("failed", "dead") or webhook is None:
            self._deliveries.add_attempt(transaction, delivery, attempt)
            return
        is_dead = "dead" in (delivery.state, attempt.outcome)
        answer = stop_response(webhook.provider) if is_dead and delivery.state == "failed" else delivery.answer
        self._deliveries.record(
            transaction,
            delivery,
            attempt.ended,
            "dead" if is_dead else "failed",
            attempt=attempt,
            answer=answer,
            webhook=webhook,
        )

    # --- the worker's queue ----------------------------------------------------------------------------------------

    def _enqueue(
        self, calls: MutationCalls, webhook: Webhook, delivery: WebhookDelivery, event: WebhookEvent
    ) -> RerunResult:
        lane = webhook.lane(event)
        self._queue.schedule_or_queue(calls, delivery.id, delivery.source, lane, is_new=False)
        return RerunResult(delivery.id, "queued", f"{named(delivery)} waits for a worker")

    def _run_soon(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        """Make a waiting delivery run now. Schedule it again if its job was canceled or is missing."""
        transaction, lane = calls.transaction, delivery.lane
        first = None if lane is None else self._deliveries.first_of_lane(transaction, delivery.source, lane)
        if first is not None and first != delivery.id:
            raise refused(delivery, f"it waits for its turn behind {first}")
        jobs = self._runtime.jobs
        job = None if delivery.job is None else jobs.get(transaction, delivery.job)
        if job is not None and job.state == "pending":
            jobs.reschedule(transaction, job, min(job.due, calls.now))
        elif lane is not None and first is not None:
            self._queue.start_next(calls, delivery.source, lane)
        else:
            self._queue.schedule_or_queue(calls, delivery.id, delivery.source, lane, is_new=True)
        return RerunResult(delivery.id, "queued", f"{named(delivery)} is due now, and waits for a worker")

    # --- a dry run -------------------------------------------------------------------------------------------------

    def _preview(self, delivery_id: str, provider: Provider | None) -> Preview:
        with self._runtime.engine.snapshot() as snapshot:
            delivery, webhook = self._found(snapshot, delivery_id)
            event = self._verified(snapshot, webhook, delivery, provider)
        outcome = dry_run(self._runtime, lambda calls: self._run_handler(calls, webhook, event))
        status, error = outcome.result
        return Preview(
            id=delivery.id,
            source=delivery.source,
            event_id=delivery.event_id,
            type=delivery.type,
            status=status,
            error=error,
            rows=outcome.rows,
            system=outcome.system,
        )

    def _run_handler(
        self, calls: MutationCalls, webhook: Webhook, event: WebhookEvent
    ) -> tuple[int | None, str | None]:
        """Return the status of the handler's response, and its error."""
        try:
            return calls.attempt(lambda: webhook.handle(calls.ctx(), event)).status, None
        except (Exception, SystemExit) as error:
            if is_engine_failure(error):
                raise
            return None, self._failure(calls.now, "replay", error).error

    # --- shared steps -------------------------------------------------------------------------------------------------

    @property
    def _runtime(self) -> Runtime:
        return self.inbox.runtime

    @property
    def _deliveries(self) -> Deliveries:
        return self.inbox.deliveries

    @property
    def _queue(self) -> DeliveryQueue:
        return self.inbox.queue

    def _stored(self, delivery_id: str) -> WebhookDelivery | None:
        with self._runtime.engine.snapshot() as snapshot:
            return self._deliveries.get(snapshot, delivery_id)

    def _provider_of(self, delivery_id: str) -> Provider | None:
        """Return the provider of a tenant's delivery, with the tenant's secrets. Otherwise None."""
        delivery = self._stored(delivery_id)
        webhook = None if delivery is None else self.inbox.webhooks.get(delivery.source)
        if webhook is None or webhook.tenant is None:
            return None
        found = webhook_of_tenant(self._runtime, webhook, webhook.tenant)
        return None if found is None else found.provider

    def _found(self, snapshot: Snapshot, delivery_id: str) -> tuple[WebhookDelivery, Webhook]:
        delivery = self._deliveries.get(snapshot, delivery_id)
        if delivery is None:
            raise RefusedError(unknown(delivery_id))
        webhook = self.inbox.webhooks.get(delivery.source)
        if webhook is None:
            reason = f"this app has no webhook with the source {delivery.source!r}"
            raise refused(delivery, f"{reason}; if one was renamed, give it source={delivery.source!r}")
        return delivery, webhook

    def _event(self, snapshot: Snapshot, webhook: Webhook, delivery: WebhookDelivery) -> WebhookEvent:
        """Return the event as it was received. There is a handler for it."""
        if not webhook.handles(delivery.type):
            raise refused(delivery, f"there is no handler for its type; write one: .on({delivery.type!r})")
        try:
            return self._queue.event_of(snapshot, webhook, delivery)
        except NoRetry as error:
            raise refused(delivery, without_body(delivery)) from error
        except VerificationError as error:
            raise refused(delivery, f"{webhook.provider.name} finds no event in it any more: {error}") from error

    def _verified(
        self, snapshot: Snapshot, webhook: Webhook, delivery: WebhookDelivery, provider: Provider | None
    ) -> WebhookEvent:
        """Return the event, if its signature verifies as of the time of arrival.

        An element of a batch has no signature of its own. Nor has a delivery that was verified by a secret in it, which
        is not stored.
        """
        event, checks = self._event(snapshot, webhook, delivery), provider or webhook.provider
        if ELEMENT in event.headers or checks.credential_headers:
            return event
        try:
            checks.verify(event.headers, event.body, now=delivery.received)
        except VerificationError as error:
            reason = (
                f"it cannot be verified as of the time it was received: {error}. It was signed with "
                f"{delivery.secret_label}; if that was replaced since, give the webhook the old secret beside the new "
                "one until this is done"
            )
            raise refused(delivery, reason) from error
        except MissingSecretError as error:
            raise refused(delivery, f"it cannot be verified: {error}") from error
        return event
