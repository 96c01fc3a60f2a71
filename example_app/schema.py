"""The tables of the example: a class each."""

from typing import Any, Literal

from flask_convex_http import Document, Id, ScheduledFunction, Schema, StoredFile, unique


class User(Document, table="users", indexes={"by_clerk_id": unique("clerk_id")}):
    """A user, as Clerk's webhooks tell us of them."""

    clerk_id: str
    email: str | None
    name: str


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    """Something somebody keeps a list of."""

    name: str
    description: str | None = None


class Payment(Document, table="payments", indexes={"by_session": unique("session_id")}):
    """A Stripe checkout that was completed."""

    session_id: str
    customer: str | None
    amount_total: int | None
    currency: str | None
    status: Literal["completed"] = "completed"


class Subscription(Document, table="subscriptions", indexes={"by_stripe_id": unique("stripe_id")}):
    """A Stripe subscription in its latest state."""

    stripe_id: str
    customer: str | None
    status: str
    current_period_end: int | None = None


class WebhookRecord(
    Document,
    table="webhook_events",
    indexes={"by_source": ["source"], "by_event": unique("source", "event_id")},
):
    """A webhook that was received, and what became of it."""

    source: Literal["stripe", "github", "clerk"]
    event_id: str
    event_type: str
    payload: Any
    processed_at: float
    status: Literal["processed", "failed"]
    error: str | None = None


class Upload(Document, table="uploads", indexes={"by_file": ["file"]}):
    """A file that was uploaded."""

    file: Id[StoredFile]


class Report(Document, table="reports"):
    """A report that was asked for."""

    words: str
    items: int | None = None
    job: Id[ScheduledFunction] | None = None


schema = Schema(User, Item, Payment, Subscription, WebhookRecord, Upload, Report)
