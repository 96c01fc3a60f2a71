"""The tables of the example, a class each."""

from typing import Any, Literal

from flask_convex_http import Document, Id, ScheduledFunction, Schema, StoredFile, unique


class User(Document, table="users", indexes={"by_clerk_id": unique("clerk_id")}):
    """A user, as Clerk's webhooks report them. Times are milliseconds since the epoch.

    Attributes:
        updated_at: The time of this state, as Clerk reports it.
        received_at: The time the event arrived. Of two events with one `updated_at`, the later arrival wins.
    """

    clerk_id: str
    email: str | None
    name: str
    updated_at: float = 0
    received_at: float = 0


class DeletedUser(Document, table="deleted_users", indexes={"by_clerk_id": unique("clerk_id")}):
    """A deleted user. Clerk does not undo deletions, so late events must not create the user again."""

    clerk_id: str


class Item(Document, table="items", indexes={"by_name": ["name"]}):
    """An entry of a list."""

    name: str
    description: str | None = None


class Payment(Document, table="payments", indexes={"by_session": unique("session_id")}):
    """A completed Stripe checkout."""

    session_id: str
    customer: str | None
    amount_total: int | None
    currency: str | None
    status: Literal["completed"] = "completed"


class Subscription(Document, table="subscriptions", indexes={"by_stripe_id": unique("stripe_id")}):
    """The latest state of a Stripe subscription. Times are milliseconds since the epoch.

    Attributes:
        current_period_end: The end of the paid period, in seconds as Stripe sends it.
        updated_at: The time of this state, as Stripe reports it, in whole seconds.
        received_at: The time the event arrived. Of two events in one second, the later arrival wins.
    """

    stripe_id: str
    customer: str | None
    status: str
    current_period_end: int | None = None
    updated_at: float = 0
    received_at: float = 0


class WebhookRecord(Document, table="webhook_events", indexes={"by_source": ["source"]}):
    """An applied event, for people to read. The inbox, not this table, keeps an event from being applied twice.

    A failed event leaves no record here; the inbox has its error. "failed" and `error` were written by older versions.
    """

    source: Literal["stripe", "github", "clerk"]
    event_id: str
    event_type: str
    payload: Any
    processed_at: float
    status: Literal["processed", "failed"]
    error: str | None = None


class Upload(Document, table="uploads", indexes={"by_file": ["file"]}):
    """An uploaded file."""

    file: Id[StoredFile]


class Report(Document, table="reports"):
    """A requested report."""

    words: str
    items: int | None = None
    job: Id[ScheduledFunction] | None = None


schema = Schema(User, DeletedUser, Item, Payment, Subscription, WebhookRecord, Upload, Report)
