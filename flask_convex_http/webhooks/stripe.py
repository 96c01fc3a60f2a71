"""Stripe's webhooks: the `Stripe-Signature` header, verified by Stripe's own library.

The library verifies only the signature. The timestamp is checked here, because the library accepts any time in the
future, the first of several `t=`, and everything that `int()` accepts.
Rules: https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.errors import ConfigurationError, VerificationError
from flask_convex_http.webhooks.base import DEFAULT_TOLERANCE, Provider
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "Stripe-Signature"


class Stripe(Provider):
    """Webhooks of Stripe, both snapshot and thin events.

    Args:
        secret: The endpoint's signing secret (`whsec_...`), `from_env(...)`, or a list of these. With a list several
            Stripe endpoints can send to one URL. The event's `secret_label` tells which endpoint sent it.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        ConfigurationError: The stripe package is not installed.
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "stripe"
    required_headers = ((_HEADER,),)
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body.id",
        id_is_signed=True,
        # Stripe does not publish its timeout, only that it is short.
        timeout=timedelta(seconds=10),
        # Stripe publishes three days with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 5, 10, 18, 36)),
        # `stripe events resend` works as long as Stripe keeps the event.
        redelivery=timedelta(days=30),
        source="https://docs.stripe.com/webhooks/process-undelivered-events",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
        # Importing stripe takes a quarter of a second, so it is imported when the first Stripe() is created.
        try:
            from stripe import SignatureVerificationError, WebhookSignature
        except ImportError as error:
            raise ConfigurationError("Stripe() needs the stripe package: pip install 'stripe>=11'") from error
        self._signature = WebhookSignature
        self._no_match = SignatureVerificationError

    def timestamp(self, delivery: Delivery) -> int:
        """Return the seconds in the header's one `t=`."""
        items = [item.partition("=") for item in delivery.header(_HEADER).split(",")]
        timestamps = [value for name, _, value in items if name == "t"]
        if len(timestamps) != 1:
            raise VerificationError("malformed", f"{_HEADER} header must have exactly one timestamp")
        return parse_timestamp(timestamps[0])

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Verify the signature with Stripe's library, without its check of the time."""
        # Text, because older releases of the library format bytes as b'...' and never match.
        body, header = delivery.body.decode(), delivery.header(_HEADER)
        try:
            return bool(self._signature.verify_header(body, header, key.decode(), tolerance=None))
        except self._no_match:
            return False

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign with Stripe's library. The id and the type are in the body."""
        return {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            _HEADER: self._signature.generate_signature_header(body.decode(), secret, int(now // 1000)),
        }

    def read(self, delivery: Delivery) -> Content:
        """Read an event. A thin event (`v2.core.event`) without data has an empty dict as its data."""
        payload = parse_object(delivery.body)
        data = payload.get("data")
        return Content(
            id=text_field(payload, "id"),
            type=text_field(payload, "type"),
            data={} if data is None else data,
            payload=payload,
        )
