"""Calendly's webhooks: `Calendly-Webhook-Signature` with a time and an HMAC of the time and the body, `t=...,v1=...`.

An event has no id. Its id is the digest of its body, which is the same for each retry.
Rules: https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender

_HEADER = "Calendly-Webhook-Signature"


class Calendly(TimedHmacSender):
    """Webhooks of Calendly. The data of an event is its `payload`, such as the invitee.

    Args:
        secret: The signing key of the subscription or the OAuth app, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future. Calendly suggests 3
            minutes.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "calendly"
    object_field = "payload"
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body",
        id_is_signed=True,
        timeout=timedelta(seconds=15),
        # Calendly publishes 24 hours with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
        source="https://developer.calendly.com/api-docs/overview/webhooks/webhook-errors",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": _HEADER,
        "signed": "{timestamp}.{body}",
        "timestamp_name": "t",
        "signature_name": "v1",
        "type_field": "event",
    }
