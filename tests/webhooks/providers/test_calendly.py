"""Calendly's webhooks."""

import hashlib
import hmac

from flask_convex_http import Calendly
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestCalendly(SenderContract):
    """Deliveries by Calendly's documented rule."""

    build = Calendly
    body = b'{"event": "invitee.created", "created_at": "2025-06-15T15:06:40Z", "payload": {"email": "a@b.example"}}'
    event = (hashlib.sha256(body).hexdigest(), "invitee.created")
    needed = ("Calendly-Webhook-Signature",)
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        signature = hmac.new(secret.encode(), b"%d.%b" % (at, body), "sha256").hexdigest()
        return {"Calendly-Webhook-Signature": f"t={at},v1={signature}"}

    def test_data_is_the_invitee(self) -> None:
        """The data of an event is its `payload`, and a retry with a new time has the same id."""
        provider = self.provider()
        first, retry = (provider.verify(self.headers(at=at), self.body, now=at * 1000) for at in (NOW, NOW + 600))
        assert first.data == {"email": "a@b.example"}
        assert first.id == retry.id
