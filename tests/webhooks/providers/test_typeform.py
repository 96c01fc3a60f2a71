"""Typeform's webhooks."""

import base64
import hmac

from flask_convex_http import Typeform
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestTypeform(SenderContract):
    """Deliveries by Typeform's documented rule."""

    build = Typeform
    body = b'{"event_id": "01G", "event_type": "form_response", "form_response": {"form_id": "lT4Z3j"}}'
    event = ("01G", "form_response")
    needed = ("Typeform-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {
            "Typeform-Signature": "sha256=" + base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
        }

    def test_data_is_the_response(self) -> None:
        """The data of an event is the response to the form."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"form_id": "lT4Z3j"}

    def test_hexadecimal_signature_is_rejected(self) -> None:
        """A signature in hexadecimal is malformed, because Typeform writes base64."""
        signature = hmac.new(self.secret.encode(), self.body, "sha256").hexdigest()
        assert self.rejection({"Typeform-Signature": f"sha256={signature}"}) == "no-match"
        assert self.rejection({"Typeform-Signature": signature}) == "malformed"
