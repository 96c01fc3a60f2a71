"""Records of applied webhook events."""

from typing import Any, Literal

from flask_convex_http import Id, MutationCtx, internal_mutation

from .schema import WebhookRecord

Source = Literal["stripe", "github", "clerk"]


@internal_mutation
def record(ctx: MutationCtx, *, source: Source, event_id: str, event_type: str, payload: Any) -> Id[WebhookRecord]:
    """Record an event, in the transaction that applies it."""
    applied = WebhookRecord(
        source=source,
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        processed_at=ctx.now,
        status="processed",
    )
    return ctx.db.insert(applied)
