"""Polar's webhooks."""

import base64
import hmac

from flask_convex_http import Polar
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestPolar(SenderContract):
    """Deliveries by the rule of Polar's package."""

    build = Polar
    body = b'{"type": "order.paid", "timestamp": "2025-06-15T15:06:40Z", "data": {"id": "o-1"}}'
    event = ("wh-1", "order.paid")
    needed = ("webhook-id", "webhook-timestamp", "webhook-signature")
    timed = True
    secret, other_secret = "polar_whs_oneoneoneone", "polar_whs_threethree"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign with the secret's text as the key."""
        signature = base64.b64encode(hmac.digest(secret.encode(), b"wh-1.%d.%b" % (at, body), "sha256")).decode()
        return {"webhook-id": "wh-1", "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}

    def test_secret_of_standard_webhooks_is_accepted(self) -> None:
        """A secret in the form of Standard Webhooks verifies with the key that it is the base64 of."""
        key = b"a key of twenty-four bytes"
        signature = base64.b64encode(hmac.digest(key, b"wh-1.%d.%b" % (NOW, self.body), "sha256")).decode()
        secret = "whsec_" + base64.b64encode(key).decode()
        headers = {**self.headers(), "webhook-signature": f"v1,{signature}"}
        assert Polar(secret=secret).verify(headers, self.body, now=NOW * 1000).data == {"id": "o-1"}

    def test_access_token_is_no_secret(self) -> None:
        """An access token in place of the secret is named as such."""
        assert "access token" in Polar(secret="polar_oat_1").mistake("polar_oat_1")
