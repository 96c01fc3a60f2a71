"""The results of reruns and purges, with their sentences for people."""

from __future__ import annotations

from typing import Literal

import msgspec

from flask_convex_http.error_texts import plain
from flask_convex_http.runtime.row_changes import RowChange, SystemChange
from flask_convex_http.schema.system_tables import WebhookAttempt, WebhookDelivery

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


class RefusedError(Exception):
    """A rerun is refused; it ends a transaction in which nothing was written."""

    def __init__(self, step: RerunResult) -> None:
        super().__init__(step.sentence)
        self.step = step


def unknown(name: str) -> RerunResult:
    """Return the error for an unknown delivery."""
    sentence = f"There is no delivery {name!r}; `flask convex webhooks list` lists them"
    return RerunResult(plain(name), "unknown", sentence)


def refused(delivery: WebhookDelivery, reason: str) -> RefusedError:
    """Return the error for a delivery that is left as it is."""
    return RefusedError(RerunResult(delivery.id, "refused", f"{named(delivery)} is left as it is: {reason}"))


def without_body(delivery: WebhookDelivery) -> str:
    """Return why a delivery whose body was purged cannot run."""
    if delivery.state == "failed":
        return "its body was purged; have the sender send it again"
    return (
        f"its body was purged, and a duplicate of a {delivery.state} delivery runs nothing. To have its effects happen "
        f"again, run `purge {delivery.id}` and have the sender send it again"
    )


def failed(delivery_id: str, attempt: WebhookAttempt) -> RerunResult:
    """Return the result of an attempt that has failed."""
    outcome: Result = "dead" if attempt.outcome == "dead" else "failed"
    return RerunResult(delivery_id, outcome, f"{delivery_id} has failed, and left no effects: {attempt.error}")


def named(delivery: WebhookDelivery) -> str:
    """Return the name of a delivery for people."""
    return f"{delivery.source} {delivery.event_id} ({delivery.id})"
