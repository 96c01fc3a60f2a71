"""Notion's webhooks: an HMAC of the body in `X-Notion-Signature`, whose key is the subscription's verification token.

Notion sends that token to the URL once, in a request that nothing signs, and people paste it into Notion's settings.
Notion signs no time, but the id is in the signed body. An old delivery that is sent again is a duplicate.
Rules: https://developers.notion.com/reference/webhooks
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from flask_convex_http.errors import RegistrationError
from flask_convex_http.webhooks.events import Delivery, HandshakeReply
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.parsing import parse_object
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "X-Notion-Signature"
_TOKEN = re.compile(r"[!-~]{1,200}")
_LONGEST = 1000


class Notion(HmacSignature):
    """Webhooks of Notion. The data of an event is the whole payload, because `entity` stands beside `data`.

    Args:
        secret: The verification token of the subscription (`secret_...`), `from_env(...)`, or a list of these.
        on_verification_token: Receives the token that Notion sends when a subscription is created, such as `print`.
            Anyone can send one. Without it such a request is rejected.

    Raises:
        RegistrationError: An argument is invalid.
    """

    name = "notion"
    issues_secrets = True
    profile = Profile(
        signed=("body",),
        id_from="body.id",
        id_is_signed=True,
        # Notion does not publish its timeout.
        timeout=timedelta(seconds=10),
        # Notion publishes eight retries with exponential backoff, the last after about 24 hours, but not the waits.
        retries=tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 180, 360, 800)),
        source="https://developers.notion.com/reference/webhooks-events-delivery",
    )

    def __init__(self, *, secret: Secrets, on_verification_token: Callable[[str], object] | None = None) -> None:
        super().__init__(secret=secret, header=_HEADER, prefix="sha256=", id_field="id", type_field="type")
        if on_verification_token is not None and not callable(on_verification_token):
            raise RegistrationError("on_verification_token must be a function of the token, such as print")
        self._on_token = on_verification_token

    def unsigned_handshake(self, delivery: Delivery) -> HandshakeReply:
        """Return an empty text to the request that has a new subscription's token."""
        if self._on_token is None or len(delivery.body) > _LONGEST or _HEADER.lower() in delivery.headers:
            return None
        payload = parse_object(delivery.body)
        token = payload.get("verification_token")
        if len(payload) != 1 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None
        self._on_token(token)
        return ""
