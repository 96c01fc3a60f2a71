"""Cal.com's webhooks: an HMAC of the body in `X-Cal-Signature-256`.

Without a secret Cal.com sends `no-secret-provided` in place of a signature, which is rejected.
Cal.com signs neither a time nor an id. The id of an event is the digest of its body, which has the time of the event.
Rules: https://cal.com/docs/developing/guides/automation/webhooks#verifying-the-authenticity-of-the-received-payload
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class CalCom(HmacSender):
    """Webhooks of Cal.com. The data of an event is its `payload`, such as the booking.

    Args:
        secret: The secret that was chosen for the webhook, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "calcom"
    object_field = "payload"
    profile = Profile(
        signed=("body",),
        id_from="body",
        id_is_signed=True,
        # Cal.com documents neither its timeout nor whether it retries. Its source sends once.
        timeout=timedelta(seconds=10),
        redelivery=timedelta(days=1),
        headers=("X-Cal-Webhook-Version",),
        source="https://cal.com/docs/developing/guides/automation/webhooks",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="X-Cal-Signature-256")

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is its `payload`. A payload template of the user's own may leave out the type."""
        content = super().read_element(element, delivery)
        given = content.payload.get("triggerEvent") if isinstance(content.payload, dict) else None
        return replace(content, type=given) if isinstance(given, str) else content
