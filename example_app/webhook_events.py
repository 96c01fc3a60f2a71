"""The record of webhooks: what came, and what became of it."""

from typing import Any, Literal

from flask_convex_http import Id, MutationCtx, QueryCtx, internal_mutation, internal_query

from .schema import WebhookRecord

Source = Literal["stripe", "github", "clerk"]


@internal_query
def find(ctx: QueryCtx, *, source: Source, event_id: str) -> WebhookRecord | None:
    """The record of an event, if it came before."""
    return ctx.db.query(WebhookRecord).with_index("by_event", source=source, event_id=event_id).unique()


@internal_mutation
def record(
    ctx: MutationCtx, *, source: Source, event_id: str, event_type: str, payload: Any, error: str | None = None
) -> Id[WebhookRecord]:
    """Record an event and its outcome; one that failed before gets its new outcome."""
    known = ctx.run_query(find, source=source, event_id=event_id)
    outcome = WebhookRecord(
        source=source,
        event_id=event_id,
        event_type=event_type,
        payload=payload,
        processed_at=ctx.now,
        status="processed" if error is None else "failed",
        error=error,
    )
    if known is None:
        return ctx.db.insert(outcome)
    ctx.db.replace(known.id, outcome)
    return known.id
