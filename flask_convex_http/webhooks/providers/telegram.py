"""Webhooks of Telegram bots: a static secret in `X-Telegram-Bot-Api-Secret-Token`. Nothing is signed.

Rules: https://core.telegram.org/bots/api#setwebhook
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.shared_secret import SharedSecret

_ID = "update_id"


class Telegram(SharedSecret):
    """Updates of a Telegram bot. The type is `message`, `callback_query` or another, the data the object.

    Args:
        secret: The `secret_token` that you gave to `setWebhook`, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "telegram"
    secret_form = SecretForm.of(
        r"[A-Za-z0-9_-]{1,256}", "a secret_token of setWebhook, which has up to 256 letters, digits, _ and -"
    )
    profile = Profile(
        signed=(),
        id_from=f"body.{_ID}",
        id_is_signed=False,
        # Telegram does not publish its timeout.
        timeout=timedelta(seconds=10),
        # Telegram publishes "a reasonable amount of attempts", and keeps an update for 24 hours. Its server's source
        # retries until then, at least every two minutes.
        redelivery=timedelta(hours=24),
        source="https://core.telegram.org/bots/api#getting-updates",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="X-Telegram-Bot-Api-Secret-Token", id_field=_ID)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an update, which has its id and one other field."""
        content = super().read_element(element, delivery)
        kinds = [name for name in element if name != _ID]
        if len(kinds) != 1:
            raise VerificationError("malformed", "Webhook body has no update")
        return replace(content, type=kinds[0], data=element[kinds[0]])
