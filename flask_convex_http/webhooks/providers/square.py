"""Square's webhooks: an HMAC of the notification URL and the body, in base64.

Square signs no time, but the id is in the signed body. An old delivery that is sent again is a duplicate.
Rules: https://developer.squareup.com/docs/webhooks/step3validate

Stricter than the `squareup` package: a signature has exactly the base64 that was computed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class Square(HmacSender):
    """Webhooks of Square. The data of an event is `data.object`, which has the object under its type, `payment`.

    Args:
        secret: The signature key of the subscription, `from_env(...)`, or a list of these.
        url: The notification URL as it is written at Square, if the app sees another one behind a proxy. By default the
            URL of the request.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "square"
    issues_secrets = True
    object_field = "data.object"
    profile = Profile(
        signed=("body", "url"),
        id_from="body.event_id",
        id_is_signed=True,
        timeout=timedelta(seconds=10),
        # Square publishes 24 hours. Its older pages have these first waits, and 72 hours, for which ids are kept.
        retries=(
            *(timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16, 32)),
            *(timedelta(hours=hours) for hours in (1, 2, 4, 8, 8)),
        ),
        redelivery=timedelta(hours=72),
        headers=("square-environment", "square-initial-delivery-timestamp", "square-retry-number"),
        source="https://developer.squareup.com/docs/webhooks/overview",
    )

    def __init__(self, *, secret: Secrets, url: str | None = None) -> None:
        super().__init__(
            secret=secret,
            header="x-square-hmacsha256-signature",
            encoding="base64",
            signed="{url}{body}",
            url=url,
            id_field="event_id",
            type_field="type",
        )

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is `data.object`. An event of a deleted object has its whole `data`."""
        content = super().read_element(element, delivery)
        data = element.get("data") if content.data is element else None
        return content if data is None else replace(content, data=data)

    def object_of(self, event: WebhookEvent) -> Any:
        """Return the object under its type, such as `data.object.payment`, or else what contains it."""
        kind = field_at(event.payload, "data.type")
        is_named = isinstance(kind, str) and isinstance(event.data, dict)
        return event.data.get(kind, event.data) if is_named else event.data
