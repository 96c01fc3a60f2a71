"""Svix's webhooks (Clerk, Resend and others send through it): Standard Webhooks under `svix-*` headers.

The scheme itself is in `standard.py`. Svix sends both families of headers, so `webhook-*` stand in.
Rules: https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

from __future__ import annotations

from flask_convex_http.webhooks.standard import StandardScheme


class Svix(StandardScheme):
    """Webhooks sent through Svix.

    Args:
        secret: The endpoint's signing secret (`whsec_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.

    Raises:
        ConfigurationError: The standardwebhooks package is not installed.
        RegistrationError: The secret or the tolerance cannot work.
    """

    name = "svix"
    id_headers = ("svix-id", "webhook-id")
    timestamp_headers = ("svix-timestamp", "webhook-timestamp")
    signature_headers = ("svix-signature", "webhook-signature")
