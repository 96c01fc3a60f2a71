"""Webhooks of Stripe, GitHub and Clerk.

A handler and the inbox's row of the delivery are one transaction, so duplicates of an event are applied once. A failed
event leaves only its error in the inbox. It is applied when the sender retries.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Generic, TypeVar

import msgspec

from flask_convex_http import (
    ArgumentValidationError,
    ConvexError,
    DocumentValidationError,
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

T = TypeVar("T")
Effect = Callable[[MutationCtx, WebhookEvent], None]

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


class StripeData(msgspec.Struct, Generic[T]):
    """Stripe's wrapper of the object in an event."""

    object: T


class StripeEvent(msgspec.Struct, Generic[T]):
    """The fields of Stripe's event that the example uses. `created` is in seconds."""

    data: StripeData[T]
    created: Time | None = None


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


class ClerkEvent(msgspec.Struct):
    """The fields of Clerk's event that the example uses."""

    data: ClerkUser


# --- effects ---------------------------------------------------------------------------------------------------------


def checkout_completed(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record a payment."""
    session = msgspec.convert(event.payload, StripeEvent[CheckoutSession]).data.object
    ctx.run_mutation(
        payments.handle_checkout_complete,
        session_id=session.id,
        customer=session.customer,
        amount_total=session.amount_total,
        currency=session.currency,
    )


def subscription_updated(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Store the new state of a subscription."""
    changed = msgspec.convert(event.payload, StripeEvent[StripeSubscription])
    subscription = changed.data.object
    ctx.run_mutation(
        payments.handle_subscription_updated,
        stripe_id=subscription.id,
        status=subscription.status,
        customer=subscription.customer,
        current_period_end=subscription.period_end,
        updated_at=event.received_at if changed.created is None else changed.created * 1000,
        received_at=event.received_at,
    )


def user_changed(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Store the new state of a user."""
    user = msgspec.convert(event.payload, ClerkEvent).data
    ctx.run_mutation(
        users.upsert,
        clerk_id=user.id,
        email=user.email,
        name=user.name,
        updated_at=event.received_at if user.updated_at is None else user.updated_at,
        received_at=event.received_at,
    )


def user_deleted(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Delete a user."""
    ctx.run_mutation(users.remove, clerk_id=msgspec.convert(event.payload, ClerkEvent).data.id)


STRIPE_EFFECTS = {
    "checkout.session.completed": checkout_completed,
    "customer.subscription.updated": subscription_updated,
}
CLERK_EFFECTS = {"user.created": user_changed, "user.updated": user_changed, "user.deleted": user_deleted}


# --- routes ----------------------------------------------------------------------------------------------------------


@webhooks.webhook("/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")), source="stripe")
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Apply completed checkouts and changed subscriptions."""
    _apply(ctx, "stripe", event, STRIPE_EFFECTS)


@webhooks.webhook("/github", GitHub(secret=from_env("GITHUB_WEBHOOK_SECRET")), source="github")
def on_github(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record every event of GitHub."""
    _apply(ctx, "github", event, {})


@webhooks.webhook("/clerk", Svix(secret=from_env("CLERK_WEBHOOK_SECRET")), source="clerk")
def on_clerk(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Apply created, changed and deleted users."""
    _apply(ctx, "clerk", event, CLERK_EFFECTS)


def _apply(ctx: MutationCtx, source: Source, event: WebhookEvent, effects: Mapping[str, Effect]) -> None:
    """Apply an event and record it. An event of another type is only recorded."""
    effect = effects.get(event.type, _nothing)
    try:
        effect(ctx, event)
        ctx.run_mutation(
            webhook_events.record, source=source, event_id=event.id, event_type=event.type, payload=event.payload
        )
    except (msgspec.ValidationError, ArgumentValidationError, DocumentValidationError) as error:
        # An error status makes the sender retry, so the event is applied after a fix on either side.
        problem = {"message": "The event could not be applied", "reason": str(error)}
        raise ConvexError(problem, status=422) from error


def _nothing(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Do nothing for an event of another type."""
