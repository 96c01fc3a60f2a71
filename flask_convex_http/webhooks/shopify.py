"""Shopify's webhooks: `X-Shopify-Hmac-Sha256` over the body.

Shopify does not sign the time, `X-Shopify-Webhook-Id`, `X-Shopify-Topic` and the shop's domain. Anyone who has seen a
delivery can send it again under a fresh id or another topic, and then it runs again. The webhook option
`dedupe="content"` recognises it by its topic and body. It is not the default, because real events may have the same
body: `profiles/update {"id": 1}`, for each update. Nor is a body alone one event: Shopify sends the same order under
`orders/create` and `orders/paid`.

To act on what is signed, use the body, such as its `financial_status`, instead of the topic.
Rules: https://shopify.dev/docs/apps/build/webhooks/verify-deliveries
"""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta

from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "X-Shopify-Hmac-Sha256"
_ID = "X-Shopify-Webhook-Id"
_TOPIC = "X-Shopify-Topic"


class Shopify(Provider):
    """Webhooks of Shopify, delivered by HTTPS as JSON.

    Args:
        secret: The app's client secret (its UTF-8 bytes are the key), `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "shopify"
    secret_form = SecretForm.of(r"(?!shp(at|ca|pa|ua)_).+", "the client secret of the app, but an access token")
    object_field = ""
    required_headers = ((_HEADER,),)
    profile = Profile(
        signed=("body",),
        id_from=_ID,
        id_is_signed=False,
        timeout=timedelta(seconds=5),
        # Shopify publishes eight retries within four hours with exponential backoff, but not the waits.
        retries=tuple(timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16, 32, 64, 113)),
        # Shopify's review of an app sends a wrong signature and demands 401.
        # https://shopify.dev/docs/apps/build/compliance/privacy-law-compliance
        rejected_status=401,
        headers=(
            *(_ID, _TOPIC, "X-Shopify-Event-Id", "X-Shopify-Shop-Domain", "X-Shopify-API-Version"),
            *("X-Shopify-Triggered-At", "X-Shopify-Name", "X-Shopify-Sub-Topic", "X-Shopify-Test"),
        ),
        source="https://shopify.dev/changelog/updates-to-webhook-retry-mechanism",
    )

    def __init__(self, *, secret: Secrets) -> None:
        # No tolerance: Shopify does not sign a time.
        super().__init__(secret=secret)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the body."""
        received = decode_signature(delivery.header(_HEADER), "", "base64")
        return hmac.compare_digest(hmac.digest(key, delivery.body, "sha256"), received)

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the payload, and its id a digest if Shopify's own is missing."""
        payload = parse_object(delivery.body)
        topic = delivery.token(_TOPIC) if delivery.headers.get(_TOPIC.lower()) else ""
        given = delivery.headers.get(_ID.lower())
        return Content(
            id=delivery.token(_ID) if given else digest(topic, delivery.body),
            type=topic,
            data=payload,
            payload=payload,
        )

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as Shopify does, and add the headers that it does not sign."""
        signature = hmac.digest(self.key(secret), body, "sha256")
        return {
            "Content-Type": "application/json",
            "User-Agent": "Shopify-Captain-Hook",
            "X-Shopify-API-Version": "2026-01",
            _HEADER: base64.b64encode(signature).decode(),
            "X-Shopify-Shop-Domain": "example.myshopify.com",
            _TOPIC: event_type,
            "X-Shopify-Triggered-At": datetime.fromtimestamp(now / 1000, tz=UTC).isoformat(),
            _ID: event_id,
        }
