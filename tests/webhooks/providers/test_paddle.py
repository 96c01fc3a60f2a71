"""Paddle's webhooks."""

import hmac

from flask_convex_http import Paddle
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestPaddle(SenderContract):
    """Deliveries by Paddle's documented rule."""

    build = Paddle
    body = b'{"event_id": "evt_1", "event_type": "transaction.completed", "data": {"id": "txn_1"}}'
    event = ("evt_1", "transaction.completed")
    needed = ("Paddle-Signature",)
    timed = True
    secret, other_secret = "pdl_ntfset_one", "pdl_ntfset_three"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        return {"Paddle-Signature": f"ts={at};h1={hmac.digest(secret.encode(), b'%d:%b' % (at, body), 'sha256').hex()}"}

    def test_each_signature_of_a_rotation_is_tried(self) -> None:
        """A header with the signatures of two secrets verifies with either secret."""
        old = self.headers(secret=self.other_secret)["Paddle-Signature"].partition(";")[2]
        headers = {"Paddle-Signature": f"{self.headers()['Paddle-Signature']};{old}"}
        for secret in (self.secret, self.other_secret):
            assert Paddle(secret=secret).verify(headers, self.body, now=NOW * 1000).data == {"id": "txn_1"}

    def test_api_key_is_no_secret(self) -> None:
        """An API key in place of the secret is named as such."""
        assert "API key" in Paddle(secret="pdl_live_apikey_1").mistake("pdl_live_apikey_1")
