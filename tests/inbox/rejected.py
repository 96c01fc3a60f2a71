"""Rejections for tests."""

from typing import Any

import msgspec

from flask_convex_http.inbox.rejections import Rejection, Rejections

NOW = 1_750_000_000_000.0
SIGNATURE = {"Stripe-Signature": "t=1,v1=00"}


def rejection(request_id: str = "r", **changes: Any) -> Rejection:
    """Return a rejection of a small delivery, with some fields changed."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "received_at": NOW,
        "source": "stripe",
        "path": "/webhooks/stripe",
        "reason": "no-match",
        "message": "Webhook signature does not match",
        "headers": SIGNATURE,
        "body": b"{}",
    }
    fields |= changes
    return Rejection(**{"size": len(fields["body"]), **fields})


def arrive(rejections: Rejections, rejection: Rejection) -> None:
    """Record a rejection as the view does, or let it be counted."""
    others = rejections.admit(rejection.source, rejection.reason)
    if others is not None:
        rejections.add(msgspec.structs.replace(rejection, others=others))
