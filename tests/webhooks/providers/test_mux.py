"""Mux's webhooks."""

import hmac

from flask_convex_http import Mux
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestMux(SenderContract):
    """Deliveries by Mux's documented rule."""

    build = Mux
    body = b'{"type": "video.asset.ready", "id": "3a56ac3d", "data": {"id": "a-1", "status": "ready"}}'
    event = ("3a56ac3d", "video.asset.ready")
    needed = ("Mux-Signature",)
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        return {"Mux-Signature": f"t={at},v1={hmac.new(secret.encode(), b'%d.%b' % (at, body), 'sha256').hexdigest()}"}

    def test_signature_of_the_vendors_tests_verifies(self) -> None:
        """The signature in the tests of Mux's own library verifies at its time."""
        signature = "854ece4c22acef7c66b57d4e504153bc512595e8e9c772ece2a68150548c19a7"
        headers = {"Mux-Signature": f"t=1565125718,v1={signature}"}
        provider = Mux(secret="SuperSecret123")
        assert provider.verify_signature(headers, b'{"test":"body"}', now=1565125718_000) == "secret 1"

    def test_data_is_the_asset(self) -> None:
        """The data of an event is its `data`."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"id": "a-1", "status": "ready"}
