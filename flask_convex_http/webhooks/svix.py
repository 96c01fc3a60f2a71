"""Svix's webhooks (Clerk, Resend and others send through it): Standard Webhooks under `svix-*` headers.

The scheme is in `standard.py`. Svix sends both families of headers, so `webhook-*` replaces a missing `svix-*`.
Rules: https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.standard import StandardScheme


class Svix(StandardScheme):
    """Webhooks sent through Svix.

    Args:
        secret: The endpoint's signing secret (`whsec_...` or `whpk_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "svix"
    profile = Profile(
        signed=("svix-id", "svix-timestamp", "body"),
        id_from="svix-id",
        id_is_signed=True,
        timeout=timedelta(seconds=15),
        retries=(
            timedelta(seconds=5),
            timedelta(minutes=5),
            timedelta(minutes=30),
            timedelta(hours=2),
            timedelta(hours=5),
            timedelta(hours=10),
            timedelta(hours=10),
        ),
        # As long as Svix keeps payloads, https://docs.svix.com/retention
        redelivery=timedelta(days=90),
        source="https://docs.svix.com/retries",
    )
    user_agent = "Svix-Webhooks/1.0 (sender-test; +https://www.svix.com/http-sender/)"
    id_headers = ("svix-id", "webhook-id")
    timestamp_headers = ("svix-timestamp", "webhook-timestamp")
    signature_headers = ("svix-signature", "webhook-signature")
