"""Payments and subscriptions, as Stripe reports them."""

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
    """Record a completed checkout, unless it is recorded already."""
    paid = ctx.db.query(Payment).with_index("by_session", session_id=session_id).unique()
    if paid is None:
        ctx.db.insert(Payment(session_id=session_id, customer=customer, amount_total=amount_total, currency=currency))


@internal_mutation
def handle_subscription_updated(
    ctx: MutationCtx,
    *,
    stripe_id: str,
    status: str,
    updated_at: float,
    received_at: float,
    customer: str | None = None,
    current_period_end: int | None = None,
) -> None:
    """Store the state of a subscription, unless a later state is stored."""
    state = Subscription(
        stripe_id=stripe_id,
        status=status,
        customer=customer,
        current_period_end=current_period_end,
        updated_at=updated_at,
        received_at=received_at,
    )
    ctx.db.apply_if_newer(state, by="by_stripe_id", version=("updated_at", "received_at"))
