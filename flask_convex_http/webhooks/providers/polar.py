"""Polar's webhooks: Standard Webhooks, with one of two keys.

A Standard Webhooks library decodes the secret from base64, and so does Polar for secrets of September 2026 and later.
For older ones it signs with the bytes of the text, such as `polar_whs_...`, as they are.
Rules: https://polar.sh/docs/integrate/webhooks/delivery, and `polar/webhooks.py` of the `polar-sdk` package

Stricter than the package: a timestamp has only digits, an id has no full stop, and an event has any type but must be an
object. The package rejects types that its version does not know.
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.encodings import decode_key
from flask_convex_http.webhooks.events import Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm, visible_mistake
from flask_convex_http.webhooks.standard import StandardScheme


class Polar(StandardScheme):
    """Webhooks of Polar.

    Args:
        secret: The endpoint's secret as Polar shows it (`whsec_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "polar"
    secret_form = SecretForm.of(
        r"(?!polar_[op]at_).+", "the secret of a webhook endpoint (whsec_... or polar_whs_...), but an access token"
    )
    profile = Profile(
        signed=("webhook-id", "webhook-timestamp", "body"),
        id_from="webhook-id",
        id_is_signed=True,
        timeout=timedelta(seconds=10),
        # Polar publishes ten retries with exponential backoff, but not the waits.
        retries=tuple(timedelta(minutes=2**step) for step in range(10)),
        # An event can be sent again from the dashboard. Polar does not say for how long.
        redelivery=timedelta(days=30),
        source="https://polar.sh/docs/integrate/webhooks/delivery",
    )
    user_agent = "polar.sh webhooks"
    id_headers = ("webhook-id",)
    timestamp_headers = ("webhook-timestamp",)
    signature_headers = ("webhook-signature",)

    def key(self, secret: str) -> bytes:
        """Return the bytes of the secret's text."""
        return secret.encode()

    def mistake(self, secret: str) -> str:
        """Return the mistake that a secret shows by itself, such as an access token in its place."""
        return visible_mistake(secret) or self.secret_form.problem(secret)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether the list has a signature by the secret's text, or by what it is the base64 of."""
        if super().matches(delivery, key):
            return True
        other = _standard_key(key)
        return other is not None and super().matches(delivery, other)


def _standard_key(key: bytes) -> bytes | None:
    """Return the key that a Standard Webhooks library derives, which Polar's package accepts too."""
    try:
        return decode_key(key.decode().removeprefix("whsec_"))
    except ValueError:
        return None
