"""The rows of the inbox: deliveries, their headers and bodies, their contents and their turns in lanes.

The state of a delivery changes so:

    (none) -> done | failed | dead | pending | unhandled    a new delivery
    failed -> done | failed | dead | unhandled              the sender or an operator retries
    unhandled -> done | failed | dead | pending             the same, once there is a handler for its type
    pending -> done | pending | dead | unhandled            a worker runs it
    pending -> canceled                                     an operator cancels its job
    canceled -> pending | done                              an operator retries
    done -> undone                                          an operator undoes its effects
    undone -> pending | done                                an operator retries or replays

Each change is part of the caller's transaction. This module runs no handler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from flask_convex_http.database.creation_times import CreationTimes, time_after
from flask_convex_http.database.insertion import insert
from flask_convex_http.database.query import Query
from flask_convex_http.engines import Engine, Row, Snapshot, Transaction
from flask_convex_http.error_texts import plain
from flask_convex_http.ids import Id, new_id, table_of
from flask_convex_http.inbox.arrival import Arrival
from flask_convex_http.inbox.registry import DEFAULT_IDS, Webhook
from flask_convex_http.schema.documents import ID_COLUMN, TIME_COLUMN, Schema, Table
from flask_convex_http.schema.index_ranges import lte, segments
from flask_convex_http.schema.system_tables import (
    StoredResponse,
    WebhookAttempt,
    WebhookContent,
    WebhookDelivery,
    WebhookRequest,
    WebhookTurn,
)

State = Literal["pending", "done", "failed", "dead", "canceled", "unhandled", "undone"]

STATES: tuple[State, ...] = ("pending", "failed", "dead", "canceled", "unhandled", "undone", "done")
#: The expiry of pending deliveries.
NEVER = 8.64e15
_ENDED = ("done", "dead", "canceled", "unhandled", "undone")
_DEFAULT = DEFAULT_IDS.total_seconds() * 1000
_MOST_ATTEMPTS = 100
#: Milliseconds after which the content of an unfinished delivery is checked again.
_LOOK_AGAIN = 86_400_000.0
#: Milliseconds after which a pending delivery is checked for a missing job.
_UNSEEN = 3_600_000.0


@dataclass(slots=True)
class Deliveries:
    """The deliveries of an application.

    Attributes:
        schema: The tables.
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

    def lookup(self, engine: Engine, arrival: Arrival, timeout: float) -> WebhookDelivery | None:
        """Return the row of a delivery, or None, read outside a transaction.

        Args:
            engine: The database.
            arrival: The delivery.
            timeout: Seconds for which the read waits for the database.
        """
        source, event_id = arrival.webhook.source, arrival.event_id
        row = engine.lookup(self.table, {"source": source, "event_id": event_id}, timeout=timeout)
        if row is None and arrival.fingerprint is not None:
            by_content = {"source": source, "fingerprint": arrival.fingerprint}
            content = engine.lookup(self.contents, by_content, timeout=timeout)
            if content is not None and self._is_recent(content, arrival):
                by_event = {"source": source, "event_id": self.contents.read(content).event_id}
                row = engine.lookup(self.table, by_event, timeout=timeout)
        return None if row is None else self.table.read(row)

    def find_again(self, transaction: Transaction, arrival: Arrival) -> WebhookDelivery | None:
        """Return the row of a delivery that `lookup` did not find a moment ago; see `Transaction.lookup_again`."""
        if arrival.fingerprint is not None:  # no unique index rejects a known content under another id
            return self.find(transaction, arrival)
        row = transaction.lookup_again(self.table, {"source": arrival.webhook.source, "event_id": arrival.event_id})
        return None if row is None else self.table.read(row)

    def find(self, transaction: Transaction, arrival: Arrival) -> WebhookDelivery | None:
        """Return the row of a delivery, or None, inside a transaction."""
        source = arrival.webhook.source
        rows = _rows(transaction, self.table, "by_event", source, arrival.event_id)
        if not rows and arrival.fingerprint is not None:
            contents = _rows(transaction, self.contents, "by_fingerprint", source, arrival.fingerprint)
            if contents and self._is_recent(contents[0], arrival):
                rows = _rows(transaction, self.table, "by_event", source, self.contents.read(contents[0]).event_id)
        return self.table.read(rows[0]) if rows else None

    def is_content_of(self, transaction: Transaction, arrival: Arrival, known: WebhookDelivery) -> bool:
        """Return whether a delivery has the content and type that a known, failed delivery arrived with.

        If the id is not signed, anyone could send another delivery's content under it. The known delivery would be lost
        if that content succeeded. A signed id needs no such check.
        """
        if arrival.webhook.provider.profile.id_is_signed:
            return True
        if plain(arrival.event.type) != known.type or len(arrival.event.body) != known.size:
            return False
        request = self.request(transaction, known.id)
        return request is None or request.body == arrival.event.body

    def _is_recent(self, content: Row, arrival: Arrival) -> bool:
        """Return whether a content arrived within the webhook's window."""
        window, arrived = arrival.webhook.content_window, content[1]
        return window is not None and bool(arrived >= arrival.event.received_at - window)

    def get(self, snapshot: Snapshot, delivery_id: str) -> WebhookDelivery | None:
        """Return the delivery with this id, or None."""
        row = snapshot.get(self.table, delivery_id) if table_of(delivery_id) == self.table.name else None
        return None if row is None else self.table.read(row)

    def by_event_id(self, snapshot: Snapshot, event_id: str, sources: Sequence[str]) -> list[WebhookDelivery]:
        """Return the deliveries with a sender's id."""
        found = [row for source in sources for row in _rows(snapshot, self.table, "by_event", source, event_id)]
        return [self.table.read(row) for row in found]

    def request(self, snapshot: Snapshot, delivery_id: str) -> WebhookRequest | None:
        """Return headers and body of a delivery, or None if they are purged."""
        row = snapshot.get(self.requests, self._request_id(delivery_id))
        return None if row is None else self.requests.read(row)

    def of_state(self, snapshot: Snapshot, state: State) -> Query[WebhookDelivery]:
        """Return the deliveries in a state, in the order of their next step."""
        return _start(snapshot, self.table).with_index("by_state", state=state)

    def _due(self, transaction: Transaction, state: State, now: float, limit: int) -> Sequence[Row]:
        """Return the due deliveries as stored rows: an unreadable one must not block the others."""
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
        answer: StoredResponse | None = None,
        lane: str | None = None,
    ) -> Id[WebhookDelivery]:
        """Insert a new delivery."""
        webhook, event = arrival.webhook, arrival.event
        time = times.take()
        delivery_id = new_id(self.table.name, time)
        expires, due = _expiries(webhook, state, now)
        values = {  # as stored rows, since validating them takes longer than writing them
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
            self._insert_request(transaction, time, arrival, delivery_id)
        self._insert_content(transaction, times, now, arrival)
        return Id(delivery_id)

    def restore_request(self, transaction: Transaction, arrival: Arrival, delivery: WebhookDelivery) -> None:
        """Store headers and body of a duplicate again, since those of the first delivery may be purged."""
        self.delete_request(transaction, delivery.id)
        self._insert_request(transaction, delivery.creation_time, arrival, delivery.id)

    def _insert_request(self, transaction: Transaction, time: float, arrival: Arrival, delivery_id: str) -> None:
        row = (self._request_id(delivery_id), time, _headers(arrival.headers), arrival.event.body)  # in column order
        transaction.insert(self.requests, row)

    def _insert_content(self, transaction: Transaction, times: CreationTimes, now: float, arrival: Arrival) -> None:
        """Store a content, again if the delivery it arrived with is purged."""
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
        attempt: WebhookAttempt | None,
        answer: StoredResponse | None = None,
        webhook: Webhook | None,
    ) -> None:
        """Record a new state, and the attempt that led to it, if any. The webhook is None if the app lacks it now."""
        expires, due = _expiries(webhook, state, now)
        self.change(
            transaction,
            delivery.id,
            state=state,
            expires=expires,
            due=due,
            completed_time=now if state in _ENDED else None,
            error=attempt.error if attempt else None,
            answer=answer,
            attempts=[*delivery.attempts, *([attempt] if attempt else [])][-_MOST_ATTEMPTS:],
        )

    def cancel(self, transaction: Transaction, delivery_id: str, now: float, webhook: Webhook | None) -> None:
        """Cancel a pending delivery. The webhook is None if the application no longer has it."""
        expires, due = _expiries(webhook, "canceled", now)
        self.change(transaction, delivery_id, state="canceled", expires=expires, due=due, completed_time=now)

    def undo(self, transaction: Transaction, delivery_id: str, now: float) -> None:
        """Mark a delivery whose effects were undone. A duplicate still gets the stored response, and runs nothing."""
        self.change(transaction, delivery_id, state="undone", completed_time=now)

    def add_attempt(self, transaction: Transaction, delivery: WebhookDelivery, attempt: WebhookAttempt) -> None:
        """Record an attempt that does not change the state."""
        self.change(transaction, delivery.id, attempts=[*delivery.attempts, attempt][-_MOST_ATTEMPTS:])

    def wait(self, transaction: Transaction, now: float, delivery_id: str, lane: str | None) -> None:
        """Make a failed delivery wait for a worker."""
        unended = {"expires": NEVER, "due": now + _UNSEEN, "completed_time": None, "answer": None}
        self.change(transaction, delivery_id, state="pending", lane=lane, **unended)

    def unchecked(self, transaction: Transaction, now: float, limit: int) -> list[str]:
        """Return the ids of deliveries that have been pending for so long that their job may be missing."""
        return [row[0] for row in self._due(transaction, "pending", now, limit)]

    def postpone_check(self, transaction: Transaction, delivery_id: str, now: float) -> None:
        """Postpone the next check of a delivery."""
        self.change(transaction, delivery_id, due=now + _UNSEEN)

    def change(self, transaction: Transaction, delivery_id: str, **fields: Any) -> None:
        """Set fields of a delivery."""
        changes = {name: self.table.store(name, value) for name, value in fields.items()}
        transaction.update(self.table, delivery_id, changes)

    def delete(self, transaction: Transaction, delivery_id: str) -> None:
        """Delete all rows of a delivery. A later duplicate counts as new."""
        transaction.delete(self.table, delivery_id)
        self.delete_request(transaction, delivery_id)
        self.leave_lane(transaction, delivery_id)

    def delete_request(self, transaction: Transaction, delivery_id: str) -> bool:
        """Delete headers and body of a delivery, and return whether they existed."""
        return transaction.delete(self.requests, self._request_id(delivery_id))

    # --- turns -------------------------------------------------------------------------------------------------------

    def queue(
        self, transaction: Transaction, times: CreationTimes, source: str, lane: str, delivery_id: Id[WebhookDelivery]
    ) -> bool:
        """Give a delivery its turn in a lane, and return whether it is the first."""
        turn = WebhookTurn(source=source, lane=lane, delivery=delivery_id)
        time, last = times.take(), _rows(transaction, self.turns, "by_lane", source, lane, descending=True)
        if last:  # the clock may have been set back since
            time = max(time, time_after(last[0][1]))
        insert(transaction, self.turns, turn, CreationTimes(time))
        return self.first_of_lane(transaction, source, lane) == delivery_id

    def first_of_lane(self, snapshot: Snapshot, source: str, lane: str) -> Id[WebhookDelivery] | None:
        """Return the first delivery of a lane, or None."""
        rows = _rows(snapshot, self.turns, "by_lane", source, lane)
        return self.turns.read(rows[0]).delivery if rows else None

    def leave_lane(self, transaction: Transaction, delivery_id: str) -> None:
        """Remove a finished delivery from its lane."""
        for row in _rows(transaction, self.turns, "by_delivery", delivery_id):
            transaction.delete(self.turns, row[0])

    # --- purging -----------------------------------------------------------------------------------------------------

    def purge(self, transaction: Transaction, now: float, limit: int) -> int:
        """Purge expired rows, at most `limit` of each kind, and return the largest number of one kind."""
        return max(self._sweep_deliveries(transaction, now, limit), self._sweep_contents(transaction, now, limit))

    def _sweep_deliveries(self, transaction: Transaction, now: float, limit: int) -> int:
        count = 0
        for state in STATES[1:]:  # pending deliveries do not expire
            rows = self._due(transaction, state, now, limit - count)
            for row in rows:
                self._purge_expired(transaction, row[0], self._expires(row), now)
            count += len(rows)
        return count

    def _purge_expired(self, transaction: Transaction, delivery_id: str, expires: float, now: float) -> None:
        if expires <= now:
            self.delete(transaction, delivery_id)
        else:
            self.delete_request(transaction, delivery_id)
            self.change(transaction, delivery_id, due=expires)

    def _sweep_contents(self, transaction: Transaction, now: float, limit: int) -> int:
        """Purge expired contents. The content of an unfinished or late delivery stays as long as the delivery."""
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


def _expiries(webhook: Webhook | None, state: State, now: float) -> tuple[float, float]:
    """Return the expiry of a delivery and of its body, which an unfinished delivery needs to run."""
    if state == "pending":
        return NEVER, now + _UNSEEN
    keep_ids, keep_bodies = (_DEFAULT, _DEFAULT) if webhook is None else (webhook.keep_ids, webhook.keep_bodies)
    return now + keep_ids, now + (keep_bodies if state in ("done", "unhandled") else keep_ids)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _headers(headers: Mapping[str, str]) -> str:
    try:
        return _json(headers)
    except UnicodeEncodeError:  # a lone surrogate, which a server may make of bytes that are not UTF-8
        return _json({plain(name): plain(value) for name, value in headers.items()})


def _start(snapshot: Snapshot, table: Table[Any]) -> Query[Any]:
    return Query(snapshot, table, table.indexes["by_creation_time"])


def _rows(snapshot: Snapshot, table: Table[Any], index: str, *values: Any, descending: bool = False) -> Sequence[Row]:
    """Return the first row of an index with these values, or the last one."""
    [segment] = segments(table.indexes[index].columns, values, None, nullable=table.nullable)
    return snapshot.select(table, segment, descending=descending, limit=1)
