"""The inbox: a webhook's effects happen exactly once, for any number of deliveries.

A delivery's row, its effects, its scheduled jobs and its response are one commit. A duplicate finds the row, gets the
stored response and runs nothing. Of two simultaneous duplicates the second waits for the writer and then finds the row.
On a database without a single writer both may run; one commits, and the other is rolled back and then finds the row. A
failed handler leaves no effects. A second transaction records its attempt, and the sender's retry runs it again.

Deliveries arrive verified. `deliveries` has the rows, and `queue` the deliveries that a worker runs.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from typing import Literal

from flask_convex_http.engines import Transaction
from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import (
    ConvexHTTPError,
    NoRetry,
    WebhookFailedError,
    is_engine_failure,
)
from flask_convex_http.ids import Id
from flask_convex_http.inbox.arrival import Arrival
from flask_convex_http.inbox.deliveries import Deliveries, State
from flask_convex_http.inbox.observed import note_outcome, observe_arrival
from flask_convex_http.inbox.queue import DeliveryQueue
from flask_convex_http.inbox.registry import DeclinedError, Webhook, Webhooks
from flask_convex_http.inbox.search import find_deliveries
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.runtime import Caller, MutationCalls, Runtime
from flask_convex_http.schema.system_tables import StoredResponse, WebhookAttempt, WebhookDelivery
from flask_convex_http.telemetry import DeliveryState
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent

logger = logger_of("webhooks")

#: The responses for a processed and for an enqueued delivery.
OK = StoredResponse()
ACCEPTED = StoredResponse(202, OK.headers, b"Accepted")
#: The same for senders that show the body to people, or that treat another status as a failure.
SILENT_OK = StoredResponse(200, OK.headers, b"")
#: Neither id nor type are signed, and both belonged to another content before: running it could repeat its effects.
OTHER_CONTENT = StoredResponse(409, OK.headers, b"This delivery has failed before with another content or type")
#: The part of the sender's timeout that a delivery may wait for the writer. The handler gets the rest.
_WRITER_SHARE = 0.5


@dataclass(slots=True)
class Inbox:
    """The inbox of an application.

    Attributes:
        runtime: Runs the handlers.
        webhooks: The webhooks of the application.
    """

    runtime: Runtime
    webhooks: Webhooks
    deliveries: Deliveries = field(init=False)
    queue: DeliveryQueue = field(init=False)

    def __post_init__(self) -> None:
        self.deliveries = Deliveries(self.runtime.schema)
        self.queue = DeliveryQueue(self.runtime, self.webhooks, self.deliveries)

    def receive(self, webhook: Webhook, event: WebhookEvent, caller: Caller, request_id: str) -> StoredResponse:
        """Process a verified delivery, and return the response.

        Args:
            webhook: The webhook that received it.
            event: The event.
            caller: The caller that the handler runs for.
            request_id: The id of the request.

        Raises:
            OverloadedError: The writer was not free within half of the sender's timeout.
            Exception: Any exception of the handler. Its effects are rolled back, and the attempt is recorded.
        """
        arrival = Arrival.of(webhook, event, request_id)
        if self.runtime.telemetry.is_on:
            return observe_arrival(self.runtime.telemetry, arrival, lambda: self._receive(arrival, caller))
        return self._receive(arrival, caller)

    def _receive(self, arrival: Arrival, caller: Caller) -> StoredResponse:
        known = self._lookup(arrival)
        if known is not None and not _may_run(known, arrival):
            return _repeat(known, arrival)
        return self._run(arrival, caller, is_new=known is None)

    def _lookup(self, arrival: Arrival) -> WebhookDelivery | None:
        return self.deliveries.lookup(self.runtime.engine, arrival, _writer_timeout(arrival.webhook.provider))

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Purge expired deliveries and revive pending ones without a job, at most `limit` of each kind.

        Returns:
            The largest number of one kind.
        """
        return max(self.deliveries.purge(transaction, now, limit), self.queue.revive(transaction, now, limit))

    def ids_named(self, name: str) -> list[str]:
        """Return the ids of the deliveries with a sender's id of an event."""
        with self.runtime.engine.snapshot() as snapshot:
            return [each.id for each in find_deliveries(self.deliveries, snapshot, name, None)]

    def mark_undone(self, transaction: Transaction, delivery_id: str, now: float) -> bool:
        """Mark a delivery as undone if its effects are there, and return whether they were."""
        delivery = self.deliveries.get(transaction, delivery_id)
        if delivery is None or delivery.state != "done":
            return False
        self.deliveries.undo(transaction, delivery_id, now)
        return True

    # --- running the handler before the response ---------------------------------------------------------------------

    def _run(self, arrival: Arrival, caller: Caller, *, is_new: bool) -> StoredResponse:
        started = self.runtime.clock()
        # The engine may retry it, which needs an unchanged event.
        runs = itertools.chain([arrival], iter(arrival.fresh, None))
        was_known = False

        def accept(calls: MutationCalls) -> StoredResponse | WebhookDelivery:
            nonlocal was_known
            run = next(runs)
            find = self.deliveries.find_again if is_new else self.deliveries.find
            known = find(calls.transaction, run)
            was_known = known is not None
            return self._accept(calls, run, known, started)

        try:
            webhook = arrival.webhook
            timeout, name = _writer_timeout(webhook.provider), webhook.handler_name(arrival.event.type)
            result = self.runtime.write(accept, caller, timeout=timeout, name=name)
        except (Exception, SystemExit) as error:
            if is_engine_failure(error):
                raise
            known = None if was_known else self._lookup(arrival)
            if known is None:
                return self._fail(arrival, started, error)
        else:
            if isinstance(result, StoredResponse):
                note_outcome(_state(arrival, result))
                _log(logging.INFO, arrival, _outcome(arrival, result))
                return result
            known = result
        # A duplicate was faster, and this one met its effects or its row.
        if not _may_run(known, arrival):
            return _repeat(known, arrival)
        return self._run(arrival.fresh(), caller, is_new=False)

    def _fail(self, arrival: Arrival, started: float, error: BaseException) -> StoredResponse:
        """Record a failed attempt, and return the response that the handler chose or raise its error."""
        if isinstance(error, DeclinedError):
            self._record_failure(arrival, started, "failed", str(error))
            return error.answer
        if isinstance(error, NoRetry):
            answer = stop_response(arrival.webhook.provider)
            self._record_failure(arrival, started, "dead", text_of(error), answer)
            return answer
        self._record_failure(arrival, started, "failed", text_of(error))
        if isinstance(error, SystemExit):  # the handler exits, not the server
            raise WebhookFailedError("A webhook's handler has called sys.exit()") from error
        raise error

    def _accept(
        self, calls: MutationCalls, arrival: Arrival, known: WebhookDelivery | None, started: float
    ) -> StoredResponse | WebhookDelivery:
        """Commit the effects of a delivery, its row and the response; or return the row that makes it a duplicate."""
        if known is not None and not _may_run(known, arrival):
            return known
        if known is not None and not self.deliveries.is_content_of(calls.transaction, arrival, known):
            return OTHER_CONTENT
        if not arrival.webhook.handles(arrival.event.type):
            self._record(calls.transaction, arrival, known, "unhandled", None, None)
            return _unhandled_response(arrival.webhook)
        if arrival.webhook.mode == "enqueue":
            self.queue.add(calls, arrival, known)
            return accepted_response(arrival.webhook.provider)
        answer = arrival.webhook.handle(calls.ctx(), arrival.event)
        attempt = WebhookAttempt(started=started, ended=self.runtime.clock())
        kept = None if answer == plain_response(arrival.webhook.provider) else answer
        delivery_id = self._record(calls.transaction, arrival, known, "done", attempt, kept)
        calls.note_delivery(delivery_id, arrival.request_id)
        return answer

    def _record_failure(
        self,
        arrival: Arrival,
        started: float,
        state: Literal["failed", "dead"],
        error: str,
        answer: StoredResponse | None = None,
    ) -> None:
        """Record an attempt whose effects were rolled back. If that fails as well, the delivery counts as new.

        Raises:
            ConvexHTTPError: A dead delivery could not be recorded, so the sender must retry.
        """
        webhook, clock = arrival.webhook, self.runtime.clock
        note_outcome(state, error)
        if state == "dead":
            _log(logging.ERROR, arrival, f"is dead: {error}")
        else:
            _log(logging.WARNING, arrival, f"failed: {error}")
        attempt = WebhookAttempt(started=started, ended=clock(), outcome=state, error=error)

        def work(transaction: Transaction) -> None:
            self.runtime.times.begin(clock())
            known = self.deliveries.find(transaction, arrival)
            if known is None or _may_run(known, arrival):  # unless a duplicate succeeded concurrently
                self._record(transaction, arrival, known, state, attempt, answer)

        try:
            self.runtime.engine.write(work, timeout=_writer_timeout(webhook.provider))
        except ConvexHTTPError:
            logger.exception("Webhook %s: the failed delivery %s was not recorded", webhook.source, arrival.event_id)
            if state == "dead":  # otherwise the sender would stop, and no row would have the delivery
                raise

    def _record(
        self,
        transaction: Transaction,
        arrival: Arrival,
        known: WebhookDelivery | None,
        state: State,
        attempt: WebhookAttempt | None,
        answer: StoredResponse | None,
    ) -> Id[WebhookDelivery]:
        rows, now = self.deliveries, self.runtime.clock()
        if known is None:
            return rows.add(transaction, self.runtime.times, now, arrival, state, attempt=attempt, answer=answer)
        rows.record(transaction, known, now, state, attempt=attempt, answer=answer, webhook=arrival.webhook)
        return known.id


def plain_response(provider: Provider) -> StoredResponse:
    """Return the response for a handler that returned nothing."""
    return SILENT_OK if provider.profile.shows_answers else OK


def accepted_response(provider: Provider) -> StoredResponse:
    """Return the response for a delivery that a worker runs."""
    return SILENT_OK if provider.profile.shows_answers else ACCEPTED


def _unhandled_response(webhook: Webhook) -> StoredResponse:
    """Return the response for a delivery without a handler, the same as for one with a handler."""
    return accepted_response(webhook.provider) if webhook.mode == "enqueue" else plain_response(webhook.provider)


def stop_response(provider: Provider) -> StoredResponse:
    """Return the response that stops the sender's retries."""
    profile, plain = provider.profile, plain_response(provider)
    return StoredResponse(profile.stop_status, (*plain.headers, *profile.stop_headers.items()), plain.body)


def _may_run(known: WebhookDelivery, arrival: Arrival) -> bool:
    """Return whether a known delivery has no effects yet, so that the handler runs when it is sent again."""
    if known.state == "unhandled":
        return arrival.webhook.handles(arrival.event.type)  # one was added since
    return known.state == "failed"


def _repeat(known: WebhookDelivery, arrival: Arrival) -> StoredResponse:
    """Return the response to a duplicate, and log it."""
    answer = _repeat_response(known, arrival.webhook)
    note_outcome("duplicate")
    ran_nothing = f"ran nothing and got {answer.status}"
    if known.event_id != arrival.event_id:  # whoever has seen the content can send one
        _log(logging.INFO, arrival, f"is a copy of {known.event_id} by its signed content, {ran_nothing}")
    elif known.size == len(arrival.event.body):
        _log(logging.INFO, arrival, f"is a duplicate, {ran_nothing}")
    else:
        question = "are ids taken from where the sender has them?"
        _log(logging.WARNING, arrival, f"has come before with a body of another size, {ran_nothing}; {question}")
    return answer


def _repeat_response(known: WebhookDelivery, webhook: Webhook) -> StoredResponse:
    if known.answer is not None:
        return known.answer
    is_queued = known.state == "pending" or webhook.mode == "enqueue"
    return accepted_response(webhook.provider) if is_queued else plain_response(webhook.provider)


def _state(arrival: Arrival, answer: StoredResponse) -> DeliveryState:
    if answer is OTHER_CONTENT:
        return "declined"
    if not arrival.webhook.handles(arrival.event.type):
        return "unhandled"
    return "accepted" if arrival.webhook.mode == "enqueue" else "done"


def _outcome(arrival: Arrival, answer: StoredResponse) -> str:
    if not arrival.webhook.handles(arrival.event.type):
        return f"has no handler for its type, and was acknowledged with {answer.status}"
    return f"was {'accepted' if answer.status < 400 else 'not accepted'} with {answer.status}"


def _log(level: int, arrival: Arrival, outcome: str) -> None:
    """Log how a delivery ended, without its payload."""
    webhook, event = arrival.webhook, arrival.event
    logger.log(
        level,
        "Webhook %s: %s delivery %s (%s) %s [request %s]",
        webhook.source,
        webhook.provider.name,
        arrival.event_id,
        event.type or "no type",
        outcome,
        arrival.request_id,
        extra=EVENT,
    )


def _writer_timeout(provider: Provider) -> float:
    return provider.profile.timeout.total_seconds() * _WRITER_SHARE
