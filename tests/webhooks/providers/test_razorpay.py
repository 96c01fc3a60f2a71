"""Razorpay's webhooks."""

import hashlib
import hmac

from flask_convex_http import Razorpay
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestRazorpay(SenderContract):
    """Deliveries by Razorpay's documented rule."""

    build = Razorpay
    body = b'{"event": "payment.captured", "payload": {"payment": {"entity": {"id": "pay_1"}}}}'
    event = ("ev_1", "payment.captured")
    needed = ("X-Razorpay-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body. The id is not signed."""
        signature = hmac.new(secret.encode(), body, "sha256").hexdigest()
        return {"X-Razorpay-Signature": signature, "X-Razorpay-Event-Id": "ev_1"}

    def test_data_is_the_payload(self) -> None:
        """The data of an event is its `payload`, with an entity under each name."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data["payment"]["entity"] == {"id": "pay_1"}

    def test_content_is_recognised_under_another_id(self) -> None:
        """The id is not signed, so the fingerprint is that of the content. Without an id it is the body's digest."""
        provider, headers = self.provider(), self.headers()
        events = [
            provider.verify({**headers, "X-Razorpay-Event-Id": given}, self.body, now=NOW * 1000)
            for given in ("ev_1", "ev_2", "")
        ]
        assert [event.id for event in events] == ["ev_1", "ev_2", hashlib.sha256(self.body).hexdigest()]
        assert len({provider.fingerprint(event) for event in events}) == 1
