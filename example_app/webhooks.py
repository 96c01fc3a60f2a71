"""Webhooks of Stripe, GitHub and Clerk.

A handler and the inbox's row of the delivery are one transaction, so duplicates of an event are applied once. An event
whose object does not match leaves only its error in the inbox. It is applied when the sender retries after a fix.
"""

from typing import Annotated

import msgspec

from flask_convex_http import (
    GitHub,
    HttpRouter,
    MutationCtx,
    Stripe,
    Svix,
    WebhookEvent,
    from_env,
)

from . import payments, users, webhook_events
from .webhook_events import Source

webhooks = HttpRouter("webhooks", __name__, url_prefix="/webhooks")

#: Seconds or milliseconds since the epoch, with a bound that rejects nonsense.
Time = Annotated[int, msgspec.Meta(ge=0, le=2**43)]


# --- payloads --------------------------------------------------------------------------------------------------------


class CheckoutSession(msgspec.Struct):
    """The fields of Stripe's checkout session that the example uses."""

    id: str
    customer: str | None = None
    amount_total: int | None = None
    currency: str | None = None


class SubscriptionItem(msgspec.Struct):
    """A price of a subscription."""

    current_period_end: int | None = None


class SubscriptionItems(msgspec.Struct):
    """Stripe's list of subscription items."""

    data: list[SubscriptionItem] | None = None


class StripeSubscription(msgspec.Struct):
    """The fields of Stripe's subscription that the example uses."""

    id: str
    status: str
    customer: str | None = None
    current_period_end: int | None = None
    items: SubscriptionItems | None = None

    @property
    def period_end(self) -> int | None:
        """The end of the paid period. Since version 2025-03-31 of Stripe's API it is a field of the items."""
        items = (self.items and self.items.data) or []
        ends = [item.current_period_end for item in items if item.current_period_end is not None]
        return self.current_period_end or min(ends, default=None)


class EmailAddress(msgspec.Struct):
    """An email address of a Clerk user."""

    id: str
    email_address: str


class ClerkUser(msgspec.Struct):
    """The fields of Clerk's user that the example uses. `updated_at` is in milliseconds; a deletion has only the id."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email_addresses: list[EmailAddress] | None = None
    primary_email_address_id: str | None = None
    updated_at: Time | None = None

    @property
    def name(self) -> str:
        """First and last name, as far as known."""
        return " ".join(part for part in (self.first_name, self.last_name) if part)

    @property
    def email(self) -> str | None:
        """The primary address, or else the first one."""
        by_id = {address.id: address.email_address for address in self.email_addresses or []}
        return by_id.get(self.primary_email_address_id or "", next(iter(by_id.values()), None))


# --- Stripe ----------------------------------------------------------------------------------------------------------

stripe = webhooks.webhook("/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")), source="stripe")


@stripe.on("checkout.session.completed")
def checkout_completed(ctx: MutationCtx, event: WebhookEvent, session: CheckoutSession) -> None:
    """Record a payment."""
    ctx.run_mutation(
        payments.handle_checkout_complete,
        session_id=session.id,
        customer=session.customer,
        amount_total=session.amount_total,
        currency=session.currency,
    )
    record(ctx, "stripe", event)


@stripe.on("customer.subscription.updated")
def subscription_updated(ctx: MutationCtx, event: WebhookEvent, subscription: StripeSubscription) -> None:
    """Store the new state of a subscription."""
    created = msgspec.convert(event.payload.get("created"), Time | None)  # in seconds
    ctx.run_mutation(
        payments.handle_subscription_updated,
        stripe_id=subscription.id,
        status=subscription.status,
        customer=subscription.customer,
        current_period_end=subscription.period_end,
        updated_at=event.received_at if created is None else created * 1000,
        received_at=event.received_at,
    )
    record(ctx, "stripe", event)


@stripe.otherwise
def other_stripe_event(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record an event of another type."""
    record(ctx, "stripe", event)


# --- GitHub and Clerk ------------------------------------------------------------------------------------------------


@webhooks.webhook("/github", GitHub(secret=from_env("GITHUB_WEBHOOK_SECRET")), source="github")
def on_github(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record every event of GitHub."""
    record(ctx, "github", event)


clerk = webhooks.webhook("/clerk", Svix(secret=from_env("CLERK_WEBHOOK_SECRET")), source="clerk")


@clerk.on("user.created", "user.updated")
def user_changed(ctx: MutationCtx, event: WebhookEvent, user: ClerkUser) -> None:
    """Store the new state of a user."""
    ctx.run_mutation(
        users.upsert,
        clerk_id=user.id,
        email=user.email,
        name=user.name,
        updated_at=event.received_at if user.updated_at is None else user.updated_at,
        received_at=event.received_at,
    )
    record(ctx, "clerk", event)


@clerk.on("user.deleted")
def user_deleted(ctx: MutationCtx, event: WebhookEvent, user: ClerkUser) -> None:
    """Delete a user."""
    ctx.run_mutation(users.remove, clerk_id=user.id)
    record(ctx, "clerk", event)


@clerk.otherwise
def other_clerk_event(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record an event of another type."""
    record(ctx, "clerk", event)


def record(ctx: MutationCtx, source: Source, event: WebhookEvent) -> None:
    """Record an event, in the transaction that applies it."""
    ctx.run_mutation(
        webhook_events.record, source=source, event_id=event.id, event_type=event.type, payload=event.payload
    )
