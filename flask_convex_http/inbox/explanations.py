"""Why deliveries were rejected, for the command line and the dashboard."""

from __future__ import annotations

from flask_convex_http.errors import VerificationError
from flask_convex_http.inbox.inbox import Inbox
from flask_convex_http.inbox.registry import Webhook, Webhooks
from flask_convex_http.inbox.rejections import Rejection
from flask_convex_http.inbox.tenants import with_secrets
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.diagnosis import Finding, diagnose
from flask_convex_http.webhooks.events import WebhookEvent


def explain_rejection(inbox: Inbox, rejection: Rejection) -> list[Finding]:
    """Return what is or may be wrong with a rejected delivery, the likeliest first."""
    webhook = inbox.webhooks.get(rejection.source)
    if webhook is None:
        sentence = f"This app has no webhook {rejection.source!r}: its source or path has changed since."
        return [Finding("unknown-webhook", sentence, True)]
    if rejection.reason == "too-large":
        sentence = "The body is larger than the webhook allows and was not read: give it a larger max_body_bytes=."
        return [Finding("too-large", sentence, True)]
    try:
        webhook = with_secrets(inbox.runtime, webhook)
    except ValueError as error:  # the tenant was removed since
        return [Finding("unknown-webhook", f"{error}.", True)]
    if is_unread(rejection):
        sentence = f"{rejection.message}: set it where the app runs, then have the delivery sent again."
        return [Finding("missing-secret", sentence, True)]
    return diagnose(
        webhook.provider,
        rejection.headers,
        rejection.body,
        rejection.received_at,
        other_providers(inbox.webhooks, webhook),
        is_whole=rejection.is_whole,
        had_secret=rejection.reason != "missing-secret",
    )


def is_unread(rejection: Rejection) -> bool:
    """Return whether the delivery was rejected before its body was read."""
    return not rejection.size and rejection.reason in ("missing-secret", "too-large")


def other_providers(webhooks: Webhooks, webhook: Webhook) -> list[tuple[str, Provider]]:
    """Return the providers of the other webhooks with their sources. A delivery may be meant for one of them."""
    return [(other.source, other.provider) for other in webhooks if other is not webhook]


def claimed_event(webhooks: Webhooks, rejection: Rejection) -> WebhookEvent | None:
    """Return the event that a rejected delivery claims to contain, or None if no event can be read. Not verified."""
    webhook = webhooks.get(rejection.source)
    if webhook is None:
        return None
    try:
        return webhook.provider.event(rejection.headers, rejection.body, received_at=rejection.received_at)
    except VerificationError:
        return None
