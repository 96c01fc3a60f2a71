"""Vercel's webhooks."""

import hmac

from flask_convex_http import Vercel
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestVercel(SenderContract):
    """Deliveries by Vercel's documented rule."""

    build = Vercel
    body = b'{"id": "wh_1", "type": "deployment.created", "payload": {"target": "production"}}'
    event = ("wh_1", "deployment.created")
    needed = ("x-vercel-signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body with SHA-1."""
        return {"x-vercel-signature": hmac.new(secret.encode(), body, "sha1").hexdigest()}

    def test_data_is_the_payload(self) -> None:
        """The data and the object of an event are its `payload`."""
        provider = self.provider()
        event = provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == provider.object_of(event) == {"target": "production"}
