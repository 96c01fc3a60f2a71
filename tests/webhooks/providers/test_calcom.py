"""Cal.com's webhooks."""

import hashlib
import hmac

import pytest

from flask_convex_http import CalCom
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestCalCom(SenderContract):
    """Deliveries by Cal.com's documented rule."""

    build = CalCom
    body = b'{"triggerEvent": "BOOKING_CREATED", "createdAt": "2025-06-15T15:06:40.000Z", "payload": {"uid": "b-1"}}'
    event = (hashlib.sha256(body).hexdigest(), "BOOKING_CREATED")
    needed = ("X-Cal-Signature-256",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {"X-Cal-Signature-256": hmac.new(secret.encode(), body, "sha256").hexdigest()}

    def test_data_is_the_booking(self) -> None:
        """The data of an event is its `payload`."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"uid": "b-1"}

    @pytest.mark.parametrize(
        "body", [b'{"title": "Lamp advice"}', b"title=Lamp+advice", b'{"triggerEvent": 1, "title": ""}']
    )
    def test_own_payload_template_has_no_type(self, body: bytes) -> None:
        """What a payload template of the user's own makes, as JSON or a form, is an event without a type."""
        event = self.provider().verify(self.headers(body=body), body, now=NOW * 1000)
        assert event.type == ""
        assert "title" in event.data

    def test_webhook_without_a_secret_is_rejected(self) -> None:
        """A delivery of a webhook without a secret is rejected."""
        assert self.rejection({"X-Cal-Signature-256": "no-secret-provided"}) == "malformed"
