"""Paddle Billing's webhooks: `Paddle-Signature` with a time and an HMAC of the time and the body, `ts=...;h1=...`.

Rules: https://developer.paddle.com/webhooks/signature-verification, and `paddle_billing/Notifications` of the
`paddle-python-sdk` package

Stricter than the package: a header has exactly one `ts=`, which has only digits. More lenient: the time may be five
minutes from now instead of five seconds, and an unknown item of the header does not reject the delivery.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender
from flask_convex_http.webhooks.secret_mistakes import SecretForm

_HEADER = "Paddle-Signature"


class Paddle(TimedHmacSender):
    """Webhooks of Paddle Billing. The data of an event is its `data`, such as the transaction.

    Args:
        secret: The secret key of the notification destination (`pdl_ntfset_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "paddle"
    secret_form = SecretForm.of(
        r"(?!pdl_(live|sdbx)_apikey_).+",
        "the secret key of a notification destination (pdl_ntfset_...), but an API key",
    )
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body", _HEADER),  # the ts= in it
        id_from="body.event_id",
        id_is_signed=True,
        timeout=timedelta(seconds=5),
        # Paddle publishes 60 retries in three days with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=3) for _ in range(24)),
        # A notification is replayed with a new id of its own and the same id of the event.
        redelivery=timedelta(days=90),
        source="https://developer.paddle.com/webhooks/respond-to-webhooks",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": _HEADER,
        "signed": "{timestamp}:{body}",
        "timestamp_name": "ts",
        "signature_name": "h1",
        "separator": ";",
        "id_field": "event_id",
        "type_field": "event_type",
    }
