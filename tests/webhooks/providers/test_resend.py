"""Resend's webhooks."""

from flask_convex_http import Resend
from tests.webhooks.providers.contract import Headers, SenderContract
from tests.webhooks.senders import OTHER_SECRET, SECRET, sign_svix


class TestResend(SenderContract):
    """Deliveries signed by Svix's library."""

    build = Resend
    body = b'{"type": "email.sent", "created_at": "2025-06-15T15:06:40Z", "data": {"email_id": "e-1"}}'
    event = ("msg_1", "email.sent")
    needed = ("svix-id", "svix-timestamp", "svix-signature")
    timed = True
    secret, other_secret = SECRET, OTHER_SECRET

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign with Svix's library."""
        return sign_svix(secret, body, at)
