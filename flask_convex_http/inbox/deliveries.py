"""The rows of the inbox: deliveries, their headers and bodies, their contents and their turns, and each step between.

    (nothing) -> done | failed | dead | pending         a delivery that is new
    failed -> done | failed | dead                      it was sent again, or run again by hand
    pending -> done | pending | dead                    a worker runs it

Each step is a part of a transaction of the caller's. Nothing here runs a handler or knows who sends.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from flask_convex_http.database.db import CreationTimes, insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Engine, Row, Snapshot, Transaction
from flask_convex_http.errors import plain
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.inbox.registry import DEFAULT_IDS, Webhook
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Schema, Table
from flask_convex_http.schema.index_ranges import lte, segments
from flask_convex_http.schema.system_tables import (
    Answer,
    WebhookAttempt,
    WebhookContent,
    WebhookDelivery,
    WebhookRequest,
    WebhookTurn,
)
from flask_convex_http.webhooks.events import WebhookEvent

State = Literal["pending", "done", "failed", "dead"]

STATES: tuple[State, ...] = ("pending", "failed", "dead", "done")
#: When what waits for a worker may be forgotten.
NEVER = 8.64e15
_ENDED = ("done", "dead")
_DEFAULT = DEFAULT_IDS.total_seconds() * 1000
_MOST_ATTEMPTS = 100
_LONGEST_ID = 255
#: Milliseconds after which the content of a delivery that is not done is looked at again.
_LOOK_AGAIN = 86_400_000.0
#: Milliseconds after which somebody looks whether what is pending is still to be run.
_UNSEEN = 3_600_000.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified delivery that has come in.

    Attributes:
        webhook: What received it.
        event: What it says.
        headers: Its headers: a handler may have changed those of the event.
        event_id: Its id, as rows have it.
        request_id: The request that brought it.
        fingerprint: Its content, if its id is not signed.
    """

    webhook: Webhook
    event: WebhookEvent
    headers: Mapping[str, str]
    event_id: str
    request_id: str
    fingerprint: str | None

    @classmethod
    def of(cls, webhook: Webhook, event: WebhookEvent, request_id: str) -> Arrival:
        """What came in, in texts that a database takes."""
        fingerprint = webhook.provider.fingerprint(event)
        return cls(webhook, event, dict(event.headers), stored_id(event.id), request_id, fingerprint)

    def anew(self) -> Arrival:
        """The same with its event read once more: a handler may have changed what it was given."""
        event, provider = self.event, self.webhook.provider
        received, label = event.received_at, event.secret_label
        fresh = provider.event(self.headers, event.body, received_at=received, secret_label=label)
        return replace(self, event=fresh)


@dataclass(slots=True)
class Deliveries:
    """The deliveries of an application.

    Attributes:
        schema: The application's schema.
    """

    schema: Schema
    table: Table[WebhookDelivery] = field(init=False)
    requests: Table[WebhookRequest] = field(init=False)
    contents: Table[WebhookContent] = field(init=False)
    turns: Table[WebhookTurn] = field(init=False)
    _columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.table = self.schema.table_for(WebhookDelivery)
        self.requests = self.schema.table_for(WebhookRequest)
        self.contents = self.schema.table_for(WebhookContent)
        self.turns = self.schema.table_for(WebhookTurn)
        self._columns = (ID_COLUMN, TIME_COLUMN, *self.table.columns)

    # --- reading -----------------------------------------------------------------------------------------------------

    def lookup(self, engine: Engine, arrival: Arrival, patience: float) -> WebhookDelivery | None:
        """What is known of a delivery, read without a transaction by who waits so many seconds for the database."""
        source, event_id = arrival.webhook.source, arrival.event_id
        row = engine.lookup(self.table, {"source": source, "event_id": event_id}, timeout=patience)
        if row is None and arrival.fingerprint is not None:
            by_content = {"source": source, "fingerprint": arrival.fingerprint}
            content = engine.lookup(self.contents, by_content, timeout=patience)
            if content is not None:
                by_event = {"source": source, "event_id": self.contents.read(content).event_id}
                row = engine.lookup(self.table, by_event, timeout=patience)
        return None if row is None else self.table.read(row)

    def find_again(self, transaction: Transaction, arrival: Arrival) -> WebhookDelivery | None:
        """Find a delivery that `lookup` has not found a moment ago; see `Transaction.lookup_again`."""
        if arrival.fingerprint is not None:  # no unique index rejects a known content under another id
            return self.find(transaction, arrival)
        row = transaction.lookup_again(self.table, {"source": arrival.webhook.source, "event_id": arrival.event_id})
        return None if row is None else self.table.read(row)

    def find(self, transaction: Transaction, arrival: Arrival) -> WebhookDelivery | None:
        """The same inside of a transaction."""
        source = arrival.webhook.source
        rows = _rows(transaction, self.table, "by_event", source, arrival.event_id)
        if not rows and arrival.fingerprint is not None:
            contents = _rows(transaction, self.contents, "by_fingerprint", source, arrival.fingerprint)
            for content in contents:
                rows = _rows(transaction, self.table, "by_event", source, self.contents.read(content).event_id)
        return self.table.read(rows[0]) if rows else None

    def is_content_of(self, transaction: Transaction, arrival: Arrival, known: WebhookDelivery) -> bool:
        """Whether a delivery has the content, and the type, that a known one came with; where the id is signed, it is
        known by that. To be known from another delivery is not enough: that one's effects would happen again."""
        if arrival.fingerprint is None:
            return True
        rows = _rows(transaction, self.contents, "by_fingerprint", arrival.webhook.source, arrival.fingerprint)
        same = any(self.contents.read(row).event_id == known.event_id for row in rows)
        return same and plain(arrival.event.type) == known.type

    def get(self, snapshot: Snapshot, delivery_id: str) -> WebhookDelivery | None:
        """The delivery of an id of ours."""
        row = snapshot.get(self.table, delivery_id) if table_of(delivery_id) == self.table.name else None
        return None if row is None else self.table.read(row)

    def by_event_id(self, snapshot: Snapshot, event_id: str, sources: Sequence[str]) -> list[WebhookDelivery]:
        """The deliveries of a sender's id."""
        found = [row for source in sources for row in _rows(snapshot, self.table, "by_event", source, event_id)]
        return [self.table.read(row) for row in found]

    def request(self, snapshot: Snapshot, delivery_id: str) -> WebhookRequest | None:
        """The headers and the body of a delivery, if they are kept still."""
        row = snapshot.get(self.requests, self._request_id(delivery_id))
        return None if row is None else self.requests.read(row)

    def of_state(self, snapshot: Snapshot, state: State) -> Query[WebhookDelivery]:
        """The deliveries in a state, in the order in which they need looking at."""
        return _start(snapshot, self.table).with_index("by_state", state=state)

    def _due(self, transaction: Transaction, state: State, now: float, limit: int) -> Sequence[Row]:
        """Those that need looking at, as they are stored: one that cannot be read must not keep the others."""
        [segment] = segments(self.table.indexes["by_state"].columns, (state,), lte(now), nullable=self.table.nullable)
        return transaction.select(self.table, segment, descending=False, limit=limit)

    # --- steps -------------------------------------------------------------------------------------------------------

    def add(
        self,
        transaction: Transaction,
        times: CreationTimes,
        now: float,
        arrival: Arrival,
        state: State,
        *,
        attempt: WebhookAttempt | None = None,
        answer: Answer | None = None,
        lane: str | None = None,
    ) -> Id[WebhookDelivery]:
        """Write down a delivery that is new."""
        webhook, event = arrival.webhook, arrival.event
        time = times.take()
        delivery_id = new_id(self.table.name, time)
        expires, due = _end_of(webhook, state, now)
        values = {  # as they are stored: to check them would take longer than to write them
            "_id": delivery_id,
            "_creation_time": time,
            "source": webhook.source,
            "event_id": arrival.event_id,
            "type": plain(event.type),
            "provider": event.provider,
            "state": state,
            "received": event.received_at,
            "expires": expires,
            "due": due,
            "secret_label": event.secret_label,
            "request_id": arrival.request_id,
            "size": len(event.body),
            "completed_time": now if state in _ENDED else None,
            "error": attempt.error if attempt else None,
            "answer": _json(answer) if answer else None,
            "lane": lane,
            "job": None,
            "attempts": _json([attempt] if attempt else []),
        }
        transaction.insert(self.table, [values[name] for name in self._columns])
        if webhook.keep_bodies:
            self._keep(transaction, time, arrival, delivery_id)
        self._remember(transaction, times, now, arrival)
        return Id(delivery_id)

    def keep_again(self, transaction: Transaction, times: CreationTimes, arrival: Arrival, delivery_id: str) -> None:
        """Keep the headers and the body of a copy: those of the first one may have been forgotten."""
        self.forget_request(transaction, delivery_id)
        self._keep(transaction, times.take(), arrival, delivery_id)

    def _keep(self, transaction: Transaction, time: float, arrival: Arrival, delivery_id: str) -> None:
        row = (self._request_id(delivery_id), time, _json(arrival.headers), arrival.event.body)  # as the columns come
        transaction.insert(self.requests, row)

    def _remember(self, transaction: Transaction, times: CreationTimes, now: float, arrival: Arrival) -> None:
        """Remember a content, again if the delivery it came with has been forgotten."""
        if arrival.fingerprint is None:
            return
        source, fingerprint = arrival.webhook.source, arrival.fingerprint
        for row in _rows(transaction, self.contents, "by_fingerprint", source, fingerprint):
            transaction.delete(self.contents, row[0])
        expires = now + arrival.webhook.keep_ids
        content = WebhookContent(source=source, fingerprint=fingerprint, event_id=arrival.event_id, expires=expires)
        insert(transaction, self.contents, content, times)

    def record(
        self,
        transaction: Transaction,
        delivery: WebhookDelivery,
        now: float,
        state: State,
        *,
        attempt: WebhookAttempt,
        answer: Answer | None = None,
        webhook: Webhook | None,
    ) -> None:
        """Write down what came of one more attempt; None for a webhook that is not known here."""
        expires, due = _end_of(webhook, state, now)
        self.change(
            transaction,
            delivery.id,
            state=state,
            expires=expires,
            due=due,
            completed_time=now if state in _ENDED else None,
            error=attempt.error,
            answer=answer,
            attempts=[*delivery.attempts, attempt][-_MOST_ATTEMPTS:],
        )

    def add_attempt(self, transaction: Transaction, delivery: WebhookDelivery, attempt: WebhookAttempt) -> None:
        """Write down an attempt that leaves a delivery in its state."""
        self.change(transaction, delivery.id, attempts=[*delivery.attempts, attempt][-_MOST_ATTEMPTS:])

    def wait(self, transaction: Transaction, now: float, delivery_id: str, lane: str | None) -> None:
        """A delivery that has failed waits for a worker."""
        unended = {"expires": NEVER, "due": now + _UNSEEN, "completed_time": None, "answer": None}
        self.change(transaction, delivery_id, state="pending", lane=lane, **unended)

    def unseen(self, transaction: Transaction, now: float, limit: int) -> list[str]:
        """The ids of those pending for so long that somebody should look whether they are still to be run."""
        return [row[0] for row in self._due(transaction, "pending", now, limit)]

    def look_later(self, transaction: Transaction, delivery_id: str, now: float) -> None:
        """Somebody has looked."""
        self.change(transaction, delivery_id, due=now + _UNSEEN)

    def change(self, transaction: Transaction, delivery_id: str, **fields: Any) -> None:
        """Set fields of a delivery."""
        changes = {name: self.table.store(name, value) for name, value in fields.items()}
        transaction.update(self.table, delivery_id, changes)

    def forget(self, transaction: Transaction, delivery_id: str) -> None:
        """Remove all there is of a delivery; a copy that comes later is taken for new."""
        transaction.delete(self.table, delivery_id)
        self.forget_request(transaction, delivery_id)
        self.leave(transaction, delivery_id)

    def forget_request(self, transaction: Transaction, delivery_id: str) -> bool:
        """Remove the headers and the body of a delivery; whether they were there."""
        return transaction.delete(self.requests, self._request_id(delivery_id))

    # --- turns -------------------------------------------------------------------------------------------------------

    def queue(
        self, transaction: Transaction, times: CreationTimes, source: str, lane: str, delivery_id: Id[WebhookDelivery]
    ) -> bool:
        """Give a delivery its place in a lane; whether it is the first."""
        turn = WebhookTurn(source=source, lane=lane, delivery=delivery_id)
        time, last = times.take(), _rows(transaction, self.turns, "by_lane", source, lane, descending=True)
        if last:  # the clock may have been set back since
            time = max(time, math.nextafter(last[0][1], math.inf))
        insert(transaction, self.turns, turn, CreationTimes(time))
        return self.first_in(transaction, source, lane) == delivery_id

    def first_in(self, snapshot: Snapshot, source: str, lane: str) -> Id[WebhookDelivery] | None:
        """The delivery whose turn it is in a lane."""
        rows = _rows(snapshot, self.turns, "by_lane", source, lane)
        return self.turns.read(rows[0]).delivery if rows else None

    def leave(self, transaction: Transaction, delivery_id: str) -> None:
        """A delivery has been dealt with."""
        for row in _rows(transaction, self.turns, "by_delivery", delivery_id):
            transaction.delete(self.turns, row[0])

    # --- forgetting --------------------------------------------------------------------------------------------------

    def sweep(self, transaction: Transaction, now: float, limit: int) -> int:
        """Forget what has expired, at most `limit` of each kind; answers how many of the kind with most."""
        return max(self._sweep_deliveries(transaction, now, limit), self._sweep_contents(transaction, now, limit))

    def _sweep_deliveries(self, transaction: Transaction, now: float, limit: int) -> int:
        count = 0
        for state in STATES[1:]:  # nothing of what is pending is forgotten
            rows = self._due(transaction, state, now, limit - count)
            for row in rows:
                self._forget_some(transaction, row[0], self._expires(row), now)
            count += len(rows)
        return count

    def _forget_some(self, transaction: Transaction, delivery_id: str, expires: float, now: float) -> None:
        if expires <= now:
            self.forget(transaction, delivery_id)
        else:
            self.forget_request(transaction, delivery_id)
            self.change(transaction, delivery_id, due=expires)

    def _sweep_contents(self, transaction: Transaction, now: float, limit: int) -> int:
        """Forget contents; one whose delivery was done late, or is not done yet, stays as long as that."""
        expired = _start(transaction, self.contents).with_index("by_expiry", expires=lte(now)).take(limit)
        for content in expired:
            rows = _rows(transaction, self.table, "by_event", content.source, content.event_id)
            expires = self._expires(rows[0]) if rows else now
            if expires <= now:
                transaction.delete(self.contents, content.id)
            else:
                changes = {"expires": self.contents.store("expires", min(expires, now + _LOOK_AGAIN))}
                transaction.update(self.contents, content.id, changes)
        return len(expired)

    def _expires(self, row: Row) -> float:
        expires: float = row[self._columns.index("expires")]
        return expires

    def _request_id(self, delivery_id: str) -> str:
        return f"{self.requests.name}_{delivery_id[-32:]}"


def _end_of(webhook: Webhook | None, state: State, now: float) -> tuple[float, float]:
    """Until when a delivery is remembered, and its body kept: without that, what is not done could not be run."""
    if state == "pending":
        return NEVER, now + _UNSEEN
    keep_ids, keep_bodies = (_DEFAULT, _DEFAULT) if webhook is None else (webhook.keep_ids, webhook.keep_bodies)
    return now + keep_ids, now + (keep_bodies if state == "done" else keep_ids)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _start(snapshot: Snapshot, table: Table[Any]) -> Query[Any]:
    return Query(snapshot, table, table.indexes["by_creation_time"])


def _rows(snapshot: Snapshot, table: Table[Any], index: str, *values: Any, descending: bool = False) -> Sequence[Row]:
    """The first row of an index with these values, or the last."""
    [segment] = segments(table.indexes[index].columns, values, None, nullable=table.nullable)
    return snapshot.select(table, segment, descending=descending, limit=1)


def stored_id(event_id: str) -> str:
    """A sender's id as rows have it: one that is very long by its digest."""
    text = plain(event_id)
    if len(text) <= _LONGEST_ID:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
