"""Intercom's webhooks: an HMAC of the body with SHA-1 in `X-Hub-Signature`, the only algorithm that Intercom has.

Intercom signs no time, but the id is in the signed body. An old delivery that is sent again is a duplicate.
Rules: https://developers.intercom.com/docs/webhooks/webhook-notifications
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class Intercom(HmacSender):
    """Webhooks of Intercom. The type of an event is its topic, and the data is the object in `data.item`.

    Args:
        secret: The client secret of the app, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "intercom"
    issues_secrets = True
    object_field = "data.item"
    profile = Profile(
        signed=("body",),
        id_from="body.id",
        id_is_signed=True,
        timeout=timedelta(seconds=5),
        # Intercom retries once after a minute.
        retries=(timedelta(minutes=1),),
        # While deliveries are paused, and for a subscription that is resumed.
        redelivery=timedelta(days=7),
        source="https://developers.intercom.com/docs/webhooks/webhook-notifications",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(
            secret=secret,
            header="X-Hub-Signature",
            algorithm="sha1",
            allow_weak_algorithm=True,
            prefix="sha1=",
            type_field="topic",
        )

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is the object in `data.item`. A ping has no id, so it has the body's digest."""
        content = super().read_element(element, delivery)
        given = content.payload.get("id")
        return replace(content, id=given) if isinstance(given, str) and given else content
