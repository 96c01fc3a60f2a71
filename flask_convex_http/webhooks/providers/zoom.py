"""Zoom's webhooks: `x-zm-signature` over a version, the time and the body.

Zoom verifies a new URL, and each URL again every 72 hours, with a signed event `endpoint.url_validation`.
An event has no id. Its id is the digest of its body, which has the time of the event.
Rules: https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any, ClassVar

from flask_convex_http.webhooks.events import HandshakeReply, WebhookEvent
from flask_convex_http.webhooks.parsing import text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender

_TIMESTAMP = "x-zm-request-timestamp"
_VALIDATION = "endpoint.url_validation"


class Zoom(TimedHmacSender):
    """Webhooks of Zoom. The data of an event is its `payload`, with the account and the `object`.

    Args:
        secret: The secret token of the app, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "zoom"
    issues_secrets = True
    object_field = "payload"  # and in that `object`, see `object_of`
    profile = Profile(
        signed=("body", _TIMESTAMP),
        id_from="body",
        id_is_signed=True,
        timeout=timedelta(seconds=3),
        retries=(timedelta(minutes=5), timedelta(minutes=20), timedelta(minutes=60)),
        headers=("x-zm-trackingid",),
        source="https://devsupport.zoom.us/hc/en-us/articles/360059893812-Webhook-delays",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": "x-zm-signature",
        "prefix": "v0=",
        "signed": "v0:{timestamp}:{body}",
        "timestamp_header": _TIMESTAMP,
        "type_field": "event",
    }

    def object_of(self, event: WebhookEvent) -> Any:
        """Return the `object` in the payload, or the payload if it has none."""
        return event.data.get("object", event.data) if isinstance(event.data, dict) else event.data

    def handshake(self, event: WebhookEvent) -> HandshakeReply:
        """Return the token with which Zoom verifies the URL, and its HMAC with the key that signed the event."""
        if event.type != _VALIDATION:
            return None
        token = text_field(event.payload, "payload.plainToken")
        key = dict(self.current_keys().usable)[event.secret_label]
        return {"plainToken": token, "encryptedToken": hmac.digest(key, token.encode(), "sha256").hex()}
