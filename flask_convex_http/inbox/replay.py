"""Reruns and purges of deliveries, for the command line and for tests.

    replay      run a handler again; effects that exist happen a second time
    retry       run a failed, dead or stuck delivery; a done one is refused
    purge       delete deliveries, or only their headers and bodies

Servers and senders continue concurrently. Every decision is therefore made inside the transaction that acts on it, and
the handler's effects and the attempt are one commit. A failed run leaves no effects, and a second transaction records
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from flask_convex_http.engines import Snapshot, Transaction
from flask_convex_http.error_texts import plain, text_of
from flask_convex_http.errors import MissingSecretError, NoRetry, VerificationError, is_engine_failure
from flask_convex_http.inbox.deliveries import Deliveries
from flask_convex_http.inbox.inbox import Inbox, plain_response, stop_response
from flask_convex_http.inbox.queue import DeliveryQueue
from flask_convex_http.inbox.registry import DeclinedError, Webhook
from flask_convex_http.inbox.tenants import webhook_of_tenant
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import MutationCalls, Runtime
from flask_convex_http.runtime.dry_run import dry_run
from flask_convex_http.runtime.row_changes import RowChange, SystemChange
from flask_convex_http.schema.system_tables import WebhookAttempt, WebhookDelivery
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent
from flask_convex_http.webhooks.headers import ELEMENT

logger = logger_of("webhooks")

By = Literal["retry", "replay"]
#: The result of a command for one delivery.
Result = Literal["done", "failed", "dead", "queued", "forgotten", "refused", "unknown"]


class RerunResult(msgspec.Struct, frozen=True):
    """The result for one delivery.

    Attributes:
        id: The given id.
        outcome: "done" if its handler has run, "queued" if a worker will run it, "refused" if nothing was changed.
        sentence: The same for people. It may contain the sender's words.
    """

    id: str = msgspec.field(name="_id")
    outcome: Result
    sentence: str


class Preview(msgspec.Struct, frozen=True):
    """The effects that a replay would have.

    Attributes:
        id: The delivery.
        source: The name of its webhook.
        event_id: The sender's id.
        type: The sender's type of the event.
        status: The status of the response, None if the handler would fail.
        error: The error of the handler.
        rows: The rows of the application that would change.
        system: Other effects, such as scheduled functions.
    """

    id: str = msgspec.field(name="_id")
    source: str
    event_id: str
    type: str
    status: int | None
    error: str | None
    rows: list[RowChange]
    system: list[SystemChange]


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
        except _RefusedError as refused:
            return refused.step

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

    def purge(self, delivery_ids: Sequence[str], *, bodies_only: bool, pending: bool) -> list[RerunResult]:
        """Delete deliveries, all in one transaction.

        Args:
            delivery_ids: The deliveries.
            bodies_only: Whether to delete only their headers and bodies, and to keep recognising duplicates.
            pending: Whether to delete also those that a worker has not run yet.
        """
        delete = self._delete_request if bodies_only else self._delete

        def work(calls: MutationCalls) -> list[RerunResult]:
            return [self._purge(calls, delivery_id, delete, pending) for delivery_id in delivery_ids]

        return self._runtime.write(work, self._runtime.caller())

    # --- running ---------------------------------------------------------------------------------------------------

    def _run(self, delivery_id: str, by: By, body: Callable[[MutationCalls, str, float], RerunResult]) -> RerunResult:
        runtime, started = self._runtime, self._runtime.clock()
        try:
            return runtime.write(lambda calls: body(calls, delivery_id, started), runtime.caller())
        except _RefusedError as refused:
            return refused.step
        except (Exception, SystemExit) as error:
            if is_engine_failure(error):
                raise
            attempt = self._failure(started, by, error)
            self._runtime.engine.write(lambda transaction: self._record_attempt(transaction, delivery_id, attempt))
            return _failed(delivery_id, attempt)

    def _replay(self, provider: Provider | None, calls: MutationCalls, delivery_id: str, started: float) -> RerunResult:
        delivery, webhook = self._found(calls.transaction, delivery_id)
        if delivery.state == "pending":
            raise _refused(delivery, "it has not run yet, and a worker is to run it; `retry` has that done now")
        event = self._verified(calls.transaction, webhook, delivery, provider)
        return self._handle(calls, webhook, delivery, event, "replay", started)

    def _retry(self, calls: MutationCalls, delivery_id: str, started: float) -> RerunResult:
        delivery, webhook = self._found(calls.transaction, delivery_id)
        if delivery.state == "done":
            raise _refused(delivery, "its effects are there; `replay` has them happen again")
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
        return RerunResult(delivery.id, "done", f"{_name(delivery)}: {webhook.handler_name(event.type)} has run")

    def _failure(self, started: float, by: By, error: BaseException) -> WebhookAttempt:
        outcome: Literal["failed", "dead"] = "dead" if isinstance(error, NoRetry) else "failed"
        text = str(error) if isinstance(error, DeclinedError) else text_of(error)
        return WebhookAttempt(started=started, ended=self._runtime.clock(), by=by, outcome=outcome, error=text)

    def _record_attempt(self, transaction: Transaction, delivery_id: str, attempt: WebhookAttempt) -> None:
        """Record an attempt whose effects were rolled back. A done delivery stays done, or a duplicate would run."""
        delivery = self._deliveries.get(transaction, delivery_id)
        if delivery is None:  # it was purged concurrently
            return
        logger.warning("Webhook %s: delivery %s failed again: %s", delivery.source, delivery.event_id, attempt.error)
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
        return RerunResult(delivery.id, "queued", f"{_name(delivery)} waits for a worker")

    def _run_soon(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        """Make a waiting delivery run now. Schedule it again if its job was canceled or is missing."""
        transaction, lane = calls.transaction, delivery.lane
        first = None if lane is None else self._deliveries.first_of_lane(transaction, delivery.source, lane)
        if first is not None and first != delivery.id:
            raise _refused(delivery, f"it waits for its turn behind {first}")
        jobs = self._runtime.jobs
        job = None if delivery.job is None else jobs.get(transaction, delivery.job)
        if job is not None and job.state == "pending":
            jobs.reschedule(transaction, job, min(job.due, calls.now))
        elif lane is not None and first is not None:
            self._queue.start_next(calls, delivery.source, lane)
        else:
            self._queue.schedule_or_queue(calls, delivery.id, delivery.source, lane, is_new=True)
        return RerunResult(delivery.id, "queued", f"{_name(delivery)} is due now, and waits for a worker")

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

    # --- forgetting ------------------------------------------------------------------------------------------------

    def _purge(
        self,
        calls: MutationCalls,
        delivery_id: str,
        delete: Callable[[MutationCalls, WebhookDelivery], RerunResult],
        pending: bool,
    ) -> RerunResult:
        delivery = self._deliveries.get(calls.transaction, delivery_id)
        if delivery is None:
            return unknown(delivery_id)
        if delivery.state == "pending" and not pending:
            return _refused(delivery, "a worker is to run it; name it by its id if that is no longer wanted").step
        return delete(calls, delivery)

    def _delete(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        rows, transaction, lane = self._deliveries, calls.transaction, delivery.lane
        has_turn = lane is not None and rows.first_of_lane(transaction, delivery.source, lane) == delivery.id
        rows.delete(transaction, delivery.id)
        if delivery.state == "pending" and delivery.job is not None:
            calls.jobs.cancel(delivery.job)
        if lane is not None and has_turn:  # otherwise the deliveries behind it would wait forever
            self._queue.start_next(calls, delivery.source, lane)
        return RerunResult(delivery.id, "forgotten", f"{_name(delivery)} is purged")

    def _delete_request(self, calls: MutationCalls, delivery: WebhookDelivery) -> RerunResult:
        was_there = self._deliveries.delete_request(calls.transaction, delivery.id)
        sentence = "are purged" if was_there else "were purged before"
        return RerunResult(delivery.id, "forgotten", f"The headers and the body of {_name(delivery)} {sentence}")

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

    def _provider_of(self, delivery_id: str) -> Provider | None:
        """Return the provider of a tenant's delivery, with the tenant's secrets. Otherwise None."""
        with self._runtime.engine.snapshot() as snapshot:
            delivery = self._deliveries.get(snapshot, delivery_id)
        webhook = None if delivery is None else self.inbox.webhooks.get(delivery.source)
        if webhook is None or webhook.tenant is None:
            return None
        found = webhook_of_tenant(self._runtime, webhook, webhook.tenant)
        return None if found is None else found.provider

    def _found(self, snapshot: Snapshot, delivery_id: str) -> tuple[WebhookDelivery, Webhook]:
        delivery = self._deliveries.get(snapshot, delivery_id)
        if delivery is None:
            raise _RefusedError(unknown(delivery_id))
        webhook = self.inbox.webhooks.get(delivery.source)
        if webhook is None:
            reason = f"this app has no webhook with the source {delivery.source!r}"
            raise _refused(delivery, f"{reason}; if one was renamed, give it source={delivery.source!r}")
        return delivery, webhook

    def _event(self, snapshot: Snapshot, webhook: Webhook, delivery: WebhookDelivery) -> WebhookEvent:
        """Return the event as it was received. There is a handler for it."""
        if not webhook.handles(delivery.type):
            raise _refused(delivery, f"there is no handler for its type; write one: .on({delivery.type!r})")
        try:
            return self._queue.event_of(snapshot, webhook, delivery)
        except NoRetry as error:
            raise _refused(delivery, _without_body(delivery)) from error
        except VerificationError as error:
            raise _refused(delivery, f"{webhook.provider.name} finds no event in it any more: {error}") from error

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
            raise _refused(delivery, reason) from error
        except MissingSecretError as error:
            raise _refused(delivery, f"it cannot be verified: {error}") from error
        return event


class _RefusedError(Exception):
    """A rerun is refused; it ends a transaction in which nothing was written."""

    def __init__(self, step: RerunResult) -> None:
        super().__init__(step.sentence)
        self.step = step


def unknown(name: str) -> RerunResult:
    """Return the error for an unknown delivery."""
    sentence = f"There is no delivery {name!r}; `flask convex webhooks list` lists them"
    return RerunResult(plain(name), "unknown", sentence)


def _refused(delivery: WebhookDelivery, reason: str) -> _RefusedError:
    return _RefusedError(RerunResult(delivery.id, "refused", f"{_name(delivery)} is left as it is: {reason}"))


def _without_body(delivery: WebhookDelivery) -> str:
    if delivery.state == "failed":
        return "its body was purged; have the sender send it again"
    return (
        f"its body was purged, and a duplicate of a {delivery.state} delivery runs nothing. To have its effects happen "
        f"again, run `purge {delivery.id}` and have the sender send it again"
    )


def _failed(delivery_id: str, attempt: WebhookAttempt) -> RerunResult:
    outcome: Result = "dead" if attempt.outcome == "dead" else "failed"
    return RerunResult(delivery_id, outcome, f"{delivery_id} has failed, and left no effects: {attempt.error}")


def _name(delivery: WebhookDelivery) -> str:
    return f"{delivery.source} {delivery.event_id} ({delivery.id})"
