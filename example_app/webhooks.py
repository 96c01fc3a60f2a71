"""Webhooks of Stripe, GitHub and Clerk: verified, recorded, and applied once."""

from collections.abc import Callable
from typing import Any

import msgspec
from flask import Response

from flask_convex_http import (
    ConvexHTTPError,
    GitHub,
    HttpRouter,
    MutationCtx,
    Stripe,
    Svix,
    WebhookEvent,
    error_response,
    from_env,
)

from . import payments, users, webhook_events
from .webhook_events import Source

webhooks = HttpRouter("webhooks", __name__, url_prefix="/webhooks")

Effect = Callable[[], None]


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


class EmailAddress(msgspec.Struct):
    """One of a Clerk user's addresses."""

    id: str
    email_address: str


class ClerkUser(msgspec.Struct):
    """What we need of Clerk's user."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email_addresses: list[EmailAddress] = []
    primary_email_address_id: str | None = None

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.first_name, self.last_name) if part)

    @property
    def email(self) -> str | None:
        """The primary address, or the first one."""
        by_id = {address.id: address.email_address for address in self.email_addresses}
        return by_id.get(self.primary_email_address_id or "", next(iter(by_id.values()), None))


@webhooks.webhook("/stripe", Stripe(secret=from_env("STRIPE_WEBHOOK_SECRET")))
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    """Completed checkouts and changed subscriptions."""

    def checkout_completed() -> None:
        session = msgspec.convert(event.data["object"], CheckoutSession)
        ctx.run_mutation(
            payments.handle_checkout_complete,
            session_id=session.id,
            customer=session.customer,
            amount_total=session.amount_total,
            currency=session.currency,
        )

    def subscription_updated() -> None:
        subscription = msgspec.convert(event.data["object"], StripeSubscription)
        ctx.run_mutation(
            payments.handle_subscription_updated,
            stripe_id=subscription.id,
            status=subscription.status,
            customer=subscription.customer,
            current_period_end=subscription.period_end,
        )

    effects = {
        "checkout.session.completed": checkout_completed,
        "customer.subscription.updated": subscription_updated,
    }
    return _apply(ctx, "stripe", event, effects.get(event.type))


@webhooks.webhook("/github", GitHub(secret=from_env("GITHUB_WEBHOOK_SECRET")))
def on_github(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    """Whatever GitHub tells us; it is only recorded."""
    return _apply(ctx, "github", event, None)


@webhooks.webhook("/clerk", Svix(secret=from_env("CLERK_WEBHOOK_SECRET")))
def on_clerk(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    """Users that were created, changed or deleted."""

    def upsert() -> None:
        user = msgspec.convert(event.data, ClerkUser)
        ctx.run_mutation(users.upsert, clerk_id=user.id, email=user.email, name=user.name)

    def remove() -> None:
        ctx.run_mutation(users.remove, clerk_id=msgspec.convert(event.data, ClerkUser).id)

    effects = {"user.created": upsert, "user.updated": upsert, "user.deleted": remove}
    return _apply(ctx, "clerk", event, effects.get(event.type))


def _apply(ctx: MutationCtx, source: Source, event: WebhookEvent, effect: Effect | None) -> Response | None:
    """Apply an event's effect unless it was applied before, and record the outcome in the same transaction."""
    before = ctx.run_query(webhook_events.find, source=source, event_id=event.id)
    if before is not None and before.status == "processed":
        return None
    error = _attempt(effect)
    payload: Any = event.payload
    ctx.run_mutation(
        webhook_events.record,
        source=source,
        event_id=event.id,
        event_type=event.type,
        payload=payload,
        error=error,
    )
    # not a 2xx, so that the provider sends it again
    return None if error is None else error_response("The event could not be applied", 422)


def _attempt(effect: Effect | None) -> str | None:
    """Run an effect; what it did not finish is undone by its sub-transaction."""
    if effect is None:
        return None
    try:
        effect()
    except (ConvexHTTPError, msgspec.ValidationError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None
