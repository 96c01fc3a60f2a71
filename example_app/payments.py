"""Payments and subscriptions, as Stripe tells us of them."""

from flask_convex_http import MutationCtx, internal_mutation

from .schema import Payment, Subscription


@internal_mutation
def handle_checkout_complete(
    ctx: MutationCtx,
    *,
    session_id: str,
    customer: str | None = None,
    amount_total: int | None = None,
    currency: str | None = None,
) -> None:
    """Record a completed checkout, once."""
    paid = ctx.db.query(Payment).with_index("by_session", session_id=session_id).unique()
    if paid is None:
        ctx.db.insert(Payment(session_id=session_id, customer=customer, amount_total=amount_total, currency=currency))


@internal_mutation
def handle_subscription_updated(
    ctx: MutationCtx,
    *,
    stripe_id: str,
    status: str,
    customer: str | None = None,
    current_period_end: int | None = None,
) -> None:
    """Bring a subscription to the state Stripe reports."""
    known = ctx.db.query(Subscription).with_index("by_stripe_id", stripe_id=stripe_id).unique()
    state = Subscription(stripe_id=stripe_id, status=status, customer=customer, current_period_end=current_period_end)
    if known is None:
        ctx.db.insert(state)
    else:
        ctx.db.replace(known.id, state)
