"""Webhooks of Stripe, GitHub and Clerk.

Each handler is one transaction with the inbox's row of the delivery: an event is applied once, however often it is
delivered. One that cannot be applied leaves nothing but the inbox's note of why, and is applied when it is sent again.
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

#: A number of seconds or milliseconds since the epoch, and not one that is too large to be either.
Time = Annotated[int, msgspec.Meta(ge=0, le=2**43)]


# --- what they send --------------------------------------------------------------------------------------------------


class CheckoutSession(msgspec.Struct):
    """What we need of Stripe's checkout session."""

    id: str
    customer: str | None = None
    amount_total: int | None = None
    currency: str | None = None


class SubscriptionItem(msgspec.Struct):
    """One of the prices of a subscription."""

    current_period_end: int | None = None


class SubscriptionItems(msgspec.Struct):
    """Stripe's list of them."""

    data: list[SubscriptionItem] = []


class StripeSubscription(msgspec.Struct):
    """What we need of Stripe's subscription."""

    id: str
    status: str
    customer: str | None = None
    current_period_end: int | None = None
    items: SubscriptionItems = msgspec.field(default_factory=SubscriptionItems)

    @property
    def period_end(self) -> int | None:
        """The end of what is paid for; since version 2025-03-31 of Stripe's API the items have it."""
        ends = [item.current_period_end for item in self.items.data if item.current_period_end is not None]
        return self.current_period_end or min(ends, default=None)


class StripeData(msgspec.Struct, Generic[T]):
    """What Stripe wraps around the object that an event is about."""

    object: T


class StripeEvent(msgspec.Struct, Generic[T]):
    """What we need of Stripe's event; `created` is in seconds."""

    data: StripeData[T]
    created: Time | None = None


class EmailAddress(msgspec.Struct):
    """One of a Clerk user's addresses."""

    id: str
    email_address: str


class ClerkUser(msgspec.Struct):
    """What we need of Clerk's user, of whom a deletion says only the id; `updated_at` is in milliseconds."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email_addresses: list[EmailAddress] = []
    primary_email_address_id: str | None = None
    updated_at: Time | None = None

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.first_name, self.last_name) if part)

    @property
    def email(self) -> str | None:
        """The primary address, or the first one."""
        by_id = {address.id: address.email_address for address in self.email_addresses}
        return by_id.get(self.primary_email_address_id or "", next(iter(by_id.values()), None))


class ClerkEvent(msgspec.Struct):
    """What we need of Clerk's event."""

    data: ClerkUser


# --- what we do ------------------------------------------------------------------------------------------------------


def checkout_completed(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Stripe: somebody has paid."""
    session = msgspec.convert(event.payload, StripeEvent[CheckoutSession]).data.object
    ctx.run_mutation(
        payments.handle_checkout_complete,
        session_id=session.id,
        customer=session.customer,
        amount_total=session.amount_total,
        currency=session.currency,
    )


def subscription_updated(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Stripe: a subscription has changed."""
    told = msgspec.convert(event.payload, StripeEvent[StripeSubscription])
    subscription = told.data.object
    ctx.run_mutation(
        payments.handle_subscription_updated,
        stripe_id=subscription.id,
        status=subscription.status,
        customer=subscription.customer,
        current_period_end=subscription.period_end,
        updated_at=event.received_at if told.created is None else told.created * 1000,
        received_at=event.received_at,
    )


def user_changed(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Clerk: a user was created or updated."""
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
    """Clerk: a user was deleted."""
    ctx.run_mutation(users.remove, clerk_id=msgspec.convert(event.payload, ClerkEvent).data.id)


STRIPE_EFFECTS = {
    "checkout.session.completed": checkout_completed,
    "customer.subscription.updated": subscription_updated,
}
CLERK_EFFECTS = {"user.created": user_changed, "user.updated": user_changed, "user.deleted": user_deleted}


# --- where it comes in -----------------------------------------------------------------------------------------------


@webhooks.webhook("/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")), source="stripe")
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Completed checkouts and changed subscriptions."""
    _apply(ctx, "stripe", event, STRIPE_EFFECTS)


@webhooks.webhook("/github", GitHub(secret=from_env("GITHUB_WEBHOOK_SECRET")), source="github")
def on_github(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Whatever GitHub tells us; it is only recorded."""
    _apply(ctx, "github", event, {})


@webhooks.webhook("/clerk", Svix(secret=from_env("CLERK_WEBHOOK_SECRET")), source="clerk")
def on_clerk(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Users that were created, changed or deleted."""
    _apply(ctx, "clerk", event, CLERK_EFFECTS)


def _apply(ctx: MutationCtx, source: Source, event: WebhookEvent, effects: Mapping[str, Effect]) -> None:
    """Apply an event and record it; one that nobody handles is only recorded."""
    effect = effects.get(event.type, _nothing)
    try:
        effect(ctx, event)
        ctx.run_mutation(
            webhook_events.record, source=source, event_id=event.id, event_type=event.type, payload=event.payload
        )
    except (msgspec.ValidationError, ArgumentValidationError, DocumentValidationError) as error:
        # not a 2xx, so that the sender sends it again when we, or they, have mended it
        problem = {"message": "The event could not be applied", "reason": str(error)}
        raise ConvexError(problem, status=422) from error


def _nothing(ctx: MutationCtx, event: WebhookEvent) -> None:
    """What an event does that nobody handles."""
