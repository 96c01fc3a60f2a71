"""Lemon Squeezy's webhooks."""

import hashlib
import hmac

from flask_convex_http import LemonSqueezy
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

BODY = b'{"meta": {"event_name": "order_created"}, "data": {"type": "orders", "id": "1"}}'


class TestLemonSqueezy(SenderContract):
    """Deliveries by Lemon Squeezy's documented rule."""

    build = LemonSqueezy
    body = BODY
    event = (hashlib.sha256(BODY).hexdigest(), "order_created")
    needed = ("X-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {"X-Signature": hmac.digest(secret.encode(), body, "sha256").hex(), "X-Event-Name": "order_created"}

    def test_type_is_the_signed_one(self) -> None:
        """The type comes from the body, whatever the header says."""
        event = self.provider().verify({**self.headers(), "X-Event-Name": "order_refunded"}, BODY, now=NOW * 1000)
        assert (event.type, event.data) == ("order_created", {"type": "orders", "id": "1"})
