"""Razorpay's webhooks: an HMAC of the body in hexadecimal.

Razorpay signs neither a time nor `X-Razorpay-Event-Id`. Anyone who has seen a delivery can send it again under a fresh
id, and then it runs again. The webhook option `dedupe="content"` recognises it by its body.
Rules: https://razorpay.com/docs/webhooks/validate-test/

Stricter than the `razorpay` package: the body must be a JSON object with an event.
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets

_ID = "X-Razorpay-Event-Id"


class Razorpay(HmacSender):
    """Webhooks of Razorpay. The data of an event is its `payload`, which has the entities that it `contains`.

    Args:
        secret: The secret that was chosen for the webhook, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "razorpay"
    object_field = "payload"
    profile = Profile(
        signed=("body",),
        id_from=_ID,
        id_is_signed=False,
        timeout=timedelta(seconds=5),
        # Razorpay publishes 24 hours with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
        # Razorpay's support replays an event of the last 15 days, https://razorpay.com/docs/webhooks/faqs/
        redelivery=timedelta(days=15),
        headers=(_ID,),
        source="https://razorpay.com/docs/webhooks/best-practices/",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="X-Razorpay-Signature", unsigned_id_header=_ID, type_field="event")
