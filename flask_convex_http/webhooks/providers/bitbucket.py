"""Bitbucket's webhooks: `X-Hub-Signature`, an HMAC of the body.

Bitbucket signs neither a time, `X-Request-UUID` nor `X-Event-Key`, see `dedupe="content"`. A webhook without a secret
is not signed at all.
Rules: https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
"""

from __future__ import annotations

from datetime import timedelta

from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets


class Bitbucket(HmacSender):
    """Webhooks of Bitbucket Cloud and Bitbucket Data Center. The data of an event is the payload.

    Args:
        secret: The secret that you chose for the webhook, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "bitbucket"
    profile = Profile(
        signed=("body",),
        id_from="X-Request-UUID",
        id_is_signed=False,
        timeout=timedelta(seconds=10),
        # Bitbucket publishes two retries after a status of 5xx, but not the waits. Users found that there are none.
        retries=(timedelta(0), timedelta(0)),
        # The page of the webhook's requests sends one again. It lists the last ones, up to 30 days.
        redelivery=timedelta(days=30),
        max_body_bytes=256 * 1024,
        headers=("X-Request-UUID", "X-Hook-UUID", "X-Attempt-Number"),
        source="https://support.atlassian.com/bitbucket-cloud/docs/troubleshoot-webhooks/",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(
            secret=secret,
            header="X-Hub-Signature",
            prefix="sha256=",
            type_header="X-Event-Key",
            unsigned_id_header="X-Request-UUID",
        )
