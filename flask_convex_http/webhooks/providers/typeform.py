"""Typeform's webhooks: an HMAC of the body in base64, behind `sha256=`.

Typeform signs no time, but the id is in the signed body. An old delivery that is sent again is a duplicate.
Rules: https://www.typeform.com/developers/webhooks/secure-your-webhooks/
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class Typeform(HmacSender):
    """Webhooks of Typeform. The data of an event is its `form_response`.

    Args:
        secret: The secret that was chosen for the webhook, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "typeform"
    object_field = "form_response"
    profile = Profile(
        signed=("body",),
        id_from="body.event_id",
        id_is_signed=True,
        timeout=timedelta(seconds=30),
        # After most statuses. After 408, 423, 429 and 503 Typeform retries every 2 to 3 minutes for 10 hours.
        retries=tuple(timedelta(minutes=minutes) for minutes in (5, 10, 20, 60, 120, 180, 240)),
        source="https://www.typeform.com/developers/webhooks/",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(
            secret=secret,
            header="Typeform-Signature",
            encoding="base64",
            prefix="sha256=",
            id_field="event_id",
            type_field="event_type",
        )
