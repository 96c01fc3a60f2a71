"""Postmark's webhooks: Basic auth in the URL, and no signature.

Rules: https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.shared_secret import SharedSecret

_WAITS = (1, 5, 10, 10, 10, 15, 30, 60, 120, 360)


class Postmark(SharedSecret):
    """Webhooks of Postmark, also those of inbound messages, by a URL such as `https://postmark:SECRET@shop.example/...`.

    Nothing is signed, so use HTTPS, and a secret that you use nowhere else.

    Args:
        secret: The password in the URL, `from_env(...)`, or a list of these.
        user: The user name in the URL.

    Raises:
        RegistrationError: The secret or the user name is invalid.
    """

    name = "postmark"
    profile = Profile(
        signed=(),
        id_from="body",
        id_is_signed=False,
        # Postmark publishes two minutes for inbound messages, and no timeout for other events.
        timeout=timedelta(seconds=30),
        # Of bounces and inbound messages; other events are sent again after 1, 5 and 15 minutes.
        retries=tuple(timedelta(minutes=minutes) for minutes in _WAITS),
        # People can send a failed inbound message again. Postmark does not say for how long.
        redelivery=timedelta(days=30),
        # Postmark does not retry after 403, so a wrong password of ours would lose events.
        rejected_status=401,
        source="https://postmarkapp.com/developer/webhooks/webhooks-overview",
    )

    def __init__(self, *, secret: Secrets, user: str = "postmark") -> None:
        if not user or ":" in user:
            raise RegistrationError(f"user={user!r} must be a user name without a colon, such as 'postmark'")
        super().__init__(secret=secret, basic=user)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event. Its id is a digest of the body, because most events of Postmark have none.

        Raises:
            VerificationError: The body is not an object of Postmark.
        """
        if not isinstance(element, dict):
            raise VerificationError("malformed", "Webhook body is not a JSON object")
        event_type = element.get("RecordType", "Inbound")
        if not isinstance(event_type, str):
            raise VerificationError("malformed", "Webhook body has a RecordType that is no text")
        return Content(id=digest(event_type, delivery.body), type=event_type, data=element, payload=element)
