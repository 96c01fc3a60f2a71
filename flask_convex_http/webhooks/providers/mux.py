"""Mux's webhooks: `Mux-Signature` with a time and an HMAC of the time and the body, `t=...,v1=...`.

Rules: https://www.mux.com/docs/core/verify-webhook-signatures

Stricter than the `@mux/mux-node` package: a timestamp may not be far in the future, and has only digits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import SignatureOptions, TimedHmacSender

_HEADER = "Mux-Signature"


class Mux(TimedHmacSender):
    """Webhooks of Mux. The data of an event is its `data`, such as the asset.

    Args:
        secret: The webhook's signing secret, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "mux"
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body.id",
        id_is_signed=True,
        timeout=timedelta(seconds=5),
        # Mux publishes 24 hours with increasing waits, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
        source="https://www.mux.com/docs/core/listen-for-webhooks",
    )
    signature: ClassVar[SignatureOptions] = {
        "header": _HEADER,
        "signed": "{timestamp}.{body}",
        "timestamp_name": "t",
        "signature_name": "v1",
        "id_field": "id",
        "type_field": "type",
    }
