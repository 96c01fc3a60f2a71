"""Resend's webhooks, which it sends through Svix.

Rules: https://resend.com/docs/webhooks/verify-webhooks-requests
"""

from __future__ import annotations

from dataclasses import replace

from flask_convex_http.webhooks.svix import Svix


class Resend(Svix):
    """Webhooks of Resend.

    Args:
        secret: The webhook's signing secret (`whsec_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "resend"
    profile = replace(Svix.profile, source="https://resend.com/docs/webhooks/retries-and-replays")
