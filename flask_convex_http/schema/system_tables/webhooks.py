"""The tables of webhook deliveries."""

from __future__ import annotations

from typing import Literal

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, unique
from flask_convex_http.schema.system_tables.jobs import ScheduledFunction


class StoredResponse(msgspec.Struct, frozen=True):
    """The stored response to a webhook delivery.

    Attributes:
        status: The HTTP status.
        headers: Names and values, in order.
        body: The body.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    body: bytes = b"OK"


class WebhookAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to run the handler of a webhook delivery.

    Attributes:
        started: The start time.
        ended: The end time.
        by: The cause: the sender's request, a worker, or a command (`retry` or `replay`).
        outcome: "success" if the effects are committed.
        error: The error, if the attempt failed.
    """

    started: float
    ended: float
    by: Literal["sender", "worker", "retry", "replay"] = "sender"
    outcome: Literal["success", "failed", "dead"] = "success"
    error: str | None = None


class WebhookDelivery(
    Document, table="_webhooks", indexes={"by_event": unique("source", "event_id"), "by_state": ["state", "due"]}
):
    """A verified webhook delivery and its state. Duplicates have no row of their own.

    Attributes:
        source: The name of the webhook that received it.
        event_id: The sender's id of the event.
        type: The sender's type of the event.
        provider: The name of the provider.
        state: "pending" if a worker will run its handler, "done" if its effects are committed, "failed" if the handler
            failed and runs again when the sender retries, "dead" if it failed for good, "canceled" if its job was
            canceled, "unhandled" if there was no handler for its type, "undone" if its effects were undone.
        received: The time it arrived.
        expires: The time after which it is purged. A later duplicate would count as a new event.
        due: The time of its next step: a check that its job exists, the purge of headers and body, or its purge.
        secret_label: The label of the secret that verified its signature.
        request_id: The id of the request that delivered it, as in the log.
        size: Bytes of its body, which is stored separately and purged sooner.
        completed_time: The time it became "done", "dead", "canceled", "unhandled" or "undone".
        error: The error of the last failed attempt.
        answer: The response to the sender and to each duplicate, None for a plain OK.
        lane: The lane, whose deliveries run one after another.
        job: The job that runs its handler.
        attempts: The newest hundred attempts to run the handler, in order.
    """

    source: str
    event_id: str
    type: str
    provider: str
    state: Literal["pending", "done", "failed", "dead", "canceled", "unhandled", "undone"]
    received: float
    expires: float
    due: float
    secret_label: str
    request_id: str
    size: int
    completed_time: float | None = None
    error: str | None = None
    answer: StoredResponse | None = None
    lane: str | None = None
    job: Id[ScheduledFunction] | None = None
    attempts: list[WebhookAttempt] = []


class WebhookRequest(Document, table="_webhook_requests"):
    """The headers and the body of a delivery. Its id ends like the delivery's.

    Attributes:
        headers: The headers that the provider names and a few common ones, with lower-case names.
        body: The verified bytes.
    """

    headers: dict[str, str]
    body: bytes


class WebhookContent(
    Document,
    table="_webhook_contents",
    indexes={"by_fingerprint": unique("source", "fingerprint"), "by_expiry": ["expires"]},
):
    """The content of a delivery to a webhook with `dedupe="content"`, to recognise a duplicate with another id.

    Attributes:
        source: The name of the webhook that received it.
        fingerprint: A digest of the content, equal in all duplicates.
        event_id: The id of the first delivery with this content.
        expires: The time after which it is purged.
    """

    source: str
    fingerprint: str
    event_id: str
    expires: float


class WebhookTurn(
    Document, table="_webhook_turns", indexes={"by_lane": ["source", "lane"], "by_delivery": ["delivery"]}
):
    """The position of a pending delivery in its lane.

    Attributes:
        source: The name of the webhook that received it.
        lane: The lane.
        delivery: The delivery.
    """

    source: str
    lane: str
    delivery: Id[WebhookDelivery]
