"""The inbox: a webhook's effects happen exactly once, however often it is delivered.

A delivery's row, its effects, what it schedules and the answer to its sender are one commit. A copy finds the row and
is answered the same, and runs nothing. Of two that come at the same moment the second waits for the writer and then
finds the row of the first; where writers do not wait for each other both may run, one is committed, and the other comes
to nothing and finds that row. A handler that fails leaves no effects: its attempt is written down by a second
transaction, and the sender's next copy runs it again.

Deliveries come in here verified. The rows are `deliveries`' business, handlers that run later are `queue`'s.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from typing import Literal

from flask_convex_http.engines.base import Transaction
from flask_convex_http.errors import (
    ConvexHTTPError,
    DeadLetterError,
    MigrationRequiredError,
    OverloadedError,
    RateLimitedError,
    UnavailableError,
    WebhookFailedError,
    text_of,
)
from flask_convex_http.inbox.deliveries import Arrival, Deliveries, State
from flask_convex_http.inbox.queue import DeliveryQueue
from flask_convex_http.inbox.registry import DeclinedError, Webhook, Webhooks
from flask_convex_http.runtime.caller import Caller
from flask_convex_http.runtime.calls import MutationCalls
from flask_convex_http.runtime.runtime import Runtime
from flask_convex_http.schema.system_tables import Answer, WebhookAttempt, WebhookDelivery
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent

logger = logging.getLogger("flask_convex_http")

#: What a sender is answered: that its delivery was dealt with, or that it will be.
OK = Answer()
ACCEPTED = Answer(202, OK.headers, b"Accepted")
#: The same where people would see the text, or take another status for a failure.
SILENT_OK = Answer(200, OK.headers, b"")
#: Neither id nor type are signed, and were others before: to run this would leave out, or repeat, another delivery.
OTHER_CONTENT = Answer(409, OK.headers, b"This delivery has failed before with another content or type")
#: Of the time that a sender waits, how much a delivery may wait for the writer; the rest is for its handler.
_SHARE = 0.5


@dataclass(slots=True)
class Inbox:
    """What an application's webhooks have received.

    Attributes:
        runtime: Runs the handlers.
        webhooks: The application's webhooks.
    """

    runtime: Runtime
    webhooks: Webhooks
    deliveries: Deliveries = field(init=False)
    queue: DeliveryQueue = field(init=False)

    def __post_init__(self) -> None:
        self.deliveries = Deliveries(self.runtime.schema)
        self.queue = DeliveryQueue(self.runtime, self.webhooks, self.deliveries)

    def receive(self, webhook: Webhook, event: WebhookEvent, caller: Caller, request_id: str) -> Answer:
        """Deal with a verified delivery, and answer its sender.

        Args:
            webhook: What received it.
            event: What it says.
            caller: On whose behalf the handler runs.
            request_id: The request that brought it.

        Raises:
            OverloadedError: The writer could not be had within half of the time that the sender waits.
            Exception: What the handler raises; its effects are undone, and the attempt is written down.
        """
        arrival = Arrival.of(webhook, event, request_id)
        known = self._lookup(arrival)
        if known is not None and known.state != "failed":
            return _answer_again(known, arrival)
        return self._run(arrival, caller, is_new=known is None)

    def _lookup(self, arrival: Arrival) -> WebhookDelivery | None:
        return self.deliveries.lookup(self.runtime.engine, arrival, _patience(arrival.webhook.provider))

    def sweep(self, transaction: Transaction, now: float, limit: int) -> int:
        """Forget what has expired, and see to what nobody runs, at most `limit` of each kind; answers how many of the
        kind with most."""
        return max(self.deliveries.sweep(transaction, now, limit), self.queue.revive(transaction, now, limit))

    # --- running a handler before the answer -------------------------------------------------------------------------

    def _run(self, arrival: Arrival, caller: Caller, *, is_new: bool) -> Answer:
        started = self.runtime.clock()
        # The engine may have to run it again, with an event that nobody has touched.
        runs = itertools.chain([arrival], iter(arrival.anew, None))
        was_known = False

        def accept(calls: MutationCalls) -> Answer:
            nonlocal was_known
            run = next(runs)
            find = self.deliveries.find_again if is_new else self.deliveries.find
            known = find(calls.transaction, run)
            was_known = known is not None
            return self._accept(calls, run, known, started)

        try:
            return self.runtime.write(accept, caller, timeout=_patience(arrival.webhook.provider))
        except (Exception, SystemExit) as error:
            if isinstance(error, Exception) and is_of_engine(error):
                raise
            known = None if was_known else self._lookup(arrival)
            if known is None:
                return self._fail(arrival, started, error)
        # A copy was quicker, and this one ran upon its effects, or met its row.
        if known.state != "failed":
            return _answer_again(known, arrival)
        return self._run(arrival.anew(), caller, is_new=False)

    def _fail(self, arrival: Arrival, started: float, error: BaseException) -> Answer:
        """Write a failed attempt down, and answer what the handler has meant or raise its error."""
        if isinstance(error, DeclinedError):
            self._write_down(arrival, started, "failed", str(error))
            return error.answer
        if isinstance(error, DeadLetterError):
            answer = stop_answer(arrival.webhook.provider)
            self._write_down(arrival, started, "dead", text_of(error), answer)
            return answer
        self._write_down(arrival, started, "failed", text_of(error))
        if isinstance(error, SystemExit):  # it is the handler that ends, and not the server
            raise WebhookFailedError("A webhook's handler has called sys.exit()") from error
        raise error

    def _accept(self, calls: MutationCalls, arrival: Arrival, known: WebhookDelivery | None, started: float) -> Answer:
        """What is one commit: the effects of a delivery, its row, and the answer."""
        if known is not None and known.state != "failed":
            return _answer_again(known, arrival)
        if known is not None and not self.deliveries.is_content_of(calls.transaction, arrival, known):
            return OTHER_CONTENT
        if arrival.webhook.mode == "enqueue":
            self.queue.add(calls, arrival, known)
            return _accepted_answer(arrival.webhook.provider)
        answer = arrival.webhook.handle(calls.ctx(), arrival.event)
        attempt = WebhookAttempt(started=started, ended=self.runtime.clock())
        kept = None if answer == plain_answer(arrival.webhook.provider) else answer
        self._record(calls.transaction, arrival, known, "done", attempt, kept)
        return answer

    def _write_down(
        self,
        arrival: Arrival,
        started: float,
        state: Literal["failed", "dead"],
        error: str,
        answer: Answer | None = None,
    ) -> None:
        """Record an attempt whose effects were undone. If that fails, too, the delivery is as new.

        Raises:
            ConvexHTTPError: What is dead could not be recorded; the sender must go on sending it.
        """
        webhook, clock = arrival.webhook, self.runtime.clock
        logger.warning("Webhook %s: delivery %s is %s: %s", webhook.source, arrival.event_id, state, error)
        attempt = WebhookAttempt(started=started, ended=clock(), outcome=state, error=error)

        def work(transaction: Transaction) -> None:
            self.runtime.times.begin(clock())
            known = self.deliveries.find(transaction, arrival)
            if known is None or known.state == "failed":  # or else a copy was luckier meanwhile
                self._record(transaction, arrival, known, state, attempt, answer)

        try:
            self.runtime.engine.write(work, timeout=_patience(webhook.provider))
        except ConvexHTTPError:
            logger.exception("Webhook %s: the failed delivery %s was not recorded", webhook.source, arrival.event_id)
            if state == "dead":  # the sender would stop, and nobody would have it
                raise

    def _record(
        self,
        transaction: Transaction,
        arrival: Arrival,
        known: WebhookDelivery | None,
        state: State,
        attempt: WebhookAttempt,
        answer: Answer | None,
    ) -> None:
        rows, now = self.deliveries, self.runtime.clock()
        if known is None:
            rows.add(transaction, self.runtime.times, now, arrival, state, attempt=attempt, answer=answer)
        else:
            webhook = arrival.webhook
            rows.record(transaction, known, now, state, attempt=attempt, answer=answer, webhook=webhook)


def plain_answer(provider: Provider) -> Answer:
    """What a sender is answered whose handler has answered nothing."""
    return SILENT_OK if provider.profile.shows_answers else OK


def _accepted_answer(provider: Provider) -> Answer:
    return SILENT_OK if provider.profile.shows_answers else ACCEPTED


def stop_answer(provider: Provider) -> Answer:
    """What makes a sender not send a delivery again."""
    profile, plain = provider.profile, plain_answer(provider)
    return Answer(profile.stop_status, (*plain.headers, *profile.stop_headers.items()), plain.body)


def is_of_engine(error: Exception) -> bool:
    """Whether the database could not be used, or is not to be used that often: the handler has not failed."""
    if isinstance(error, UnavailableError):
        return error.by_engine
    return isinstance(error, OverloadedError | MigrationRequiredError | RateLimitedError)


def _answer_again(known: WebhookDelivery, arrival: Arrival) -> Answer:
    if known.event_id == arrival.event_id and known.size != len(arrival.event.body):
        logger.warning(
            "Webhook %s: %s has come before with a body of another size, and ran nothing; are ids taken from where the "
            "sender has them?",
            known.source,
            arrival.event_id,
        )
    if known.event_id != arrival.event_id:
        logger.info(  # anybody who has seen it can send one
            "Webhook %s: delivery %s is a copy of %s by its signed content, and ran nothing",
            known.source,
            arrival.event_id,
            known.event_id,
        )
    provider = arrival.webhook.provider
    if known.answer is not None:
        return known.answer
    is_queued = known.state == "pending" or arrival.webhook.mode == "enqueue"
    return _accepted_answer(provider) if is_queued else plain_answer(provider)


def _patience(provider: Provider) -> float:
    return provider.profile.timeout.total_seconds() * _SHARE
