"""Lemon Squeezy's webhooks: `X-Signature`, an HMAC of the body.

Lemon Squeezy sends no id and no signed time. The id of an event is the digest of its body, so a delivery that is sent
again is a duplicate, however old it is. The type is that in the body, because `X-Event-Name` is not signed.
Rules: https://docs.lemonsqueezy.com/help/webhooks/signing-requests
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets

_NAME = "X-Event-Name"


class LemonSqueezy(HmacSender):
    """Webhooks of Lemon Squeezy. The data of an event is its `data`, such as the order.

    Args:
        secret: The signing secret that you chose for the webhook, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "lemonsqueezy"
    object_field = "data"
    profile = Profile(
        signed=("body",),
        id_from="body",
        id_is_signed=True,
        # Lemon Squeezy does not publish its timeout.
        timeout=timedelta(seconds=10),
        retries=(timedelta(seconds=5), timedelta(seconds=25), timedelta(seconds=125)),
        # A webhook can be sent again from the dashboard. Lemon Squeezy does not say for how long.
        redelivery=timedelta(days=30),
        headers=(_NAME,),
        source="https://docs.lemonsqueezy.com/help/webhooks/webhook-requests",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="X-Signature", type_field="meta.event_name")

    def named_headers(self, event_id: str, event_type: str) -> dict[str, str]:
        """Return the headers of a test delivery that are not signed."""
        return {**super().named_headers(event_id, event_type), _NAME: event_type}
