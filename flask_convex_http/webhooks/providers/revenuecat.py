"""RevenueCat's webhooks: a static `Authorization` header, and for webhooks with HMAC signing also a signature.

`X-RevenueCat-Webhook-Signature` holds a time and an HMAC of the time and the body, `t=...,v1=...`.
Rules: https://www.revenuecat.com/docs/integrations/webhooks
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.configured import EventOptions
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.parsing import field_at
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.shared_secret import SharedSecret
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_SIGNATURE = "X-RevenueCat-Webhook-Signature"
_EVENT = EventOptions(id_field="event.id", type_field="event.type")


class RevenueCat(Provider):
    """Webhooks of RevenueCat. The data of an event is its `event`.

    Args:
        secret: The whole value of the `Authorization` header that you entered at RevenueCat, or with `signed=True` the
            signing secret; `from_env(...)`, or a list of these.
        signed: Verify the signature instead, if HMAC signing is enabled for the webhook. It protects the content and
            the time too.
        tolerance: How far the signed time may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "revenuecat"
    issues_secrets = False
    object_field = "event"

    def __init__(
        self,
        *,
        secret: Secrets,
        signed: bool = False,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
        self._scheme = _signature(secret) if signed else SharedSecret(secret=secret, header="Authorization", **_EVENT)
        self.required_headers = self._scheme.required_headers
        self.credential_headers = self._scheme.credential_headers
        self.profile = Profile(
            signed=("body", _SIGNATURE) if signed else (),
            id_from="body.event.id",
            id_is_signed=signed,
            timeout=timedelta(seconds=60),
            retries=tuple(timedelta(minutes=minutes) for minutes in (5, 10, 20, 40, 80)),
            source="https://www.revenuecat.com/docs/integrations/webhooks",
        )

    @property
    def signs_time(self) -> bool:
        """Whether `signed=True` was given."""
        return self._scheme.signs_time

    def timestamp(self, delivery: Delivery) -> float | None:
        """Return the signed time, or None if only the header is compared."""
        return self._scheme.timestamp(delivery)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header, or the signature."""
        return self._scheme.matches(delivery, key)

    def read(self, delivery: Delivery) -> Content:
        """Read an event."""
        content = self._scheme.read(delivery)
        event = field_at(content.payload, "event")
        return Content(id=content.id, type=content.type, data=event, payload=content.payload)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers of a delivery."""
        return self._scheme.sign(body, secret=secret, event_id=event_id, event_type=event_type, now=now)


def _signature(secret: Secrets) -> HmacSignature:
    return HmacSignature(
        secret=secret,
        header=_SIGNATURE,
        signed="{timestamp}.{body}",
        timestamp_name="t",
        signature_name="v1",
        **_EVENT,
    )
