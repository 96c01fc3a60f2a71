"""Paystack's webhooks."""

import hashlib
import hmac

from flask_convex_http import Paystack
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestPaystack(SenderContract):
    """Deliveries by Paystack's documented rule."""

    build = Paystack
    body = b'{"event": "charge.success", "data": {"id": 302961, "reference": "qTPrJoy9Bx"}}'
    event = (hashlib.sha256(body).hexdigest(), "charge.success")
    needed = ("x-paystack-signature",)
    secret, other_secret = "sk_test_oneoneone", "sk_test_threethree"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body with SHA-512."""
        return {"x-paystack-signature": hmac.new(secret.encode(), body, "sha512").hexdigest()}

    def test_data_is_the_transaction(self) -> None:
        """The data of an event is its `data`."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"id": 302961, "reference": "qTPrJoy9Bx"}

    def test_public_key_is_no_secret(self) -> None:
        """A public key in place of the secret key is named as such, and a secret key is right."""
        assert "public key" in self.provider().mistake("pk_test_1")
        assert self.provider().mistake(self.secret) == ""
