"""Square's webhooks."""

import base64
import hmac
from functools import partial

import pytest

from flask_convex_http import Square, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

URL = "https://shop.example/webhooks/square"


class TestSquare(SenderContract):
    """Deliveries by Square's documented rule."""

    build = partial(Square, url=URL)
    url, fixes_url = URL, True
    body = (
        b'{"type": "payment.made", "event_id": "e-1", "data": {"type": "payment", "object": {"payment": {"id": "p"}}}}'
    )
    event = ("e-1", "payment.made")
    needed = ("x-square-hmacsha256-signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the URL and the body."""
        signature = hmac.digest(secret.encode(), URL.encode() + body, "sha256")
        return {"x-square-hmacsha256-signature": base64.b64encode(signature).decode()}

    def test_url_is_signed(self) -> None:
        """Without a configured URL that of the request is verified, and a replay of the stored delivery too."""
        provider = Square(secret=self.secret)
        event = provider.verify(self.headers(), self.body, now=NOW * 1000, url=URL)
        assert provider.verify_signature(event.headers, self.body) == "secret 1"
        for other in (None, "https://other.example/webhooks/square", f"{URL}?a=b"):
            with pytest.raises(VerificationError, match="does not match"):
                provider.verify(self.headers(), self.body, now=NOW * 1000, url=other)

    def test_object_is_the_payment(self) -> None:
        """The data of an event is `data.object`, and the object is what has the name of its type in it."""
        provider = self.provider()
        event = provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert (event.data, provider.object_of(event)) == ({"payment": {"id": "p"}}, {"id": "p"})
        body = b'{"type": "customer.deleted", "event_id": "e-2", "data": {"type": "customer", "deleted": true}}'
        deleted = provider.verify(self.headers(body=body), body, now=NOW * 1000)
        assert provider.object_of(deleted) == {"type": "customer", "deleted": True}
