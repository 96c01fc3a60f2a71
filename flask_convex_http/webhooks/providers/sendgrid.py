"""SendGrid's Event Webhook: an ECDSA signature over the time and the body, which is a list of events.

Rules: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features,
and `EventWebhook` of the `sendgrid` package

Stricter than the package: the time is compared with now, and has only digits.
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.public_key_signatures import EcdsaSignature
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"


class SendGrid(EcdsaSignature):
    """Event Webhooks of SendGrid with the Signed Event Webhook switched on.

    Each element of the list that SendGrid sends is an event of its own.

    Args:
        secret: The verification key as SendGrid shows it (base64), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The key or a tolerance is invalid.
    """

    name = "sendgrid"
    profile = Profile(
        signed=("body", _TIMESTAMP),
        id_from="body.sg_event_id",
        id_is_signed=True,
        timeout=timedelta(seconds=10),
        # SendGrid publishes that it retries for 24 hours with growing waits, but not the waits.
        redelivery=timedelta(hours=24),
        source="https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(
            secret=secret,
            header=_SIGNATURE,
            timestamp_header=_TIMESTAMP,
            signed="{timestamp}{body}",
            id_field="sg_event_id",
            type_field="event",
            batch=True,
            tolerance=tolerance,
            future_tolerance=future_tolerance,
        )

    def read(self, delivery: Delivery) -> Content:
        """Reject a body that is no list: SendGrid sends nothing else."""
        raise VerificationError("malformed", "Webhook body is not a list of events")
