"""Vercel's webhooks: an HMAC of the body with SHA-1, the only algorithm that Vercel has.

Vercel signs no time, but the id is in the signed body. An old delivery that is sent again is a duplicate.
Rules: https://vercel.com/docs/webhooks/webhooks-api#securing-webhooks
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class Vercel(HmacSender):
    """Webhooks of Vercel, of a team or an integration. The data of an event is its `payload`.

    Args:
        secret: The secret of a team's webhook, or the client secret of an integration, `from_env(...)`, or a list of
            these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "vercel"
    issues_secrets = True
    object_field = "payload"
    profile = Profile(
        signed=("body",),
        id_from="body.id",
        id_is_signed=True,
        timeout=timedelta(seconds=30),
        # Vercel publishes 24 hours with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 3, 6, 12)),
        source="https://vercel.com/docs/webhooks",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(
            secret=secret,
            header="x-vercel-signature",
            algorithm="sha1",
            allow_weak_algorithm=True,
            id_field="id",
            type_field="type",
        )
