"""The tables of the example: a class each."""

from typing import Any, Literal

from flask_convex_http import Document, Id, ScheduledFunction, Schema, StoredFile, unique


class User(Document, table="users", indexes={"by_clerk_id": unique("clerk_id")}):
    """A user, as Clerk's webhooks tell us of them; times are milliseconds since the epoch.

    Attributes:
        updated_at: When Clerk says that they were so.
        received_at: When we were told: of two events with one time, the one that came later counts.
    """

    clerk_id: str
    email: str | None
    name: str
    updated_at: float = 0
    received_at: float = 0


class DeletedUser(Document, table="deleted_users", indexes={"by_clerk_id": unique("clerk_id")}):
    """That a user was deleted, which Clerk does not undo: events that come late do not bring them back."""

    clerk_id: str


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
    """A Stripe subscription in its latest state; times are milliseconds since the epoch.

    Attributes:
        current_period_end: Stripe's own number, in seconds.
        updated_at: When Stripe says that it was so. Stripe counts whole seconds.
        received_at: When we were told: of two events in one second, the one that came later counts.
    """

    stripe_id: str
    customer: str | None
    status: str
    current_period_end: int | None = None
    updated_at: float = 0
    received_at: float = 0


class WebhookRecord(Document, table="webhook_events", indexes={"by_source": ["source"]}):
    """An event that was applied, for people to look at; what keeps it from being applied twice is the inbox.

    One that fails is undone with its record, and the inbox says why; "failed" and `error` are of older versions.
    """

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


schema = Schema(User, DeletedUser, Item, Payment, Subscription, WebhookRecord, Upload, Report)
