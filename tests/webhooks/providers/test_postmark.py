"""Postmark's webhooks."""

import base64
import hashlib

import pytest

from flask_convex_http import Postmark, RegistrationError, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestPostmark(SenderContract):
    """Deliveries with the user name and the password of the URL in `Authorization`."""

    build = Postmark
    body = b'{"RecordType": "Delivery", "MessageID": "m-1", "Recipient": "ada@example.com"}'
    event = (hashlib.sha256(b"Delivery\n" + body).hexdigest(), "Delivery")
    needed = ("Authorization",)
    signs_body = False

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the header of Basic auth."""
        return {"Authorization": "Basic " + base64.b64encode(f"postmark:{secret}".encode()).decode()}

    def test_inbound_message_is_an_event(self) -> None:
        """A message without a RecordType is an inbound one."""
        body = b'{"From": "ada@example.com", "MessageID": "m-2"}'
        assert self.provider().verify(self.headers(body=body), body, now=NOW * 1000).type == "Inbound"

    def test_user_name_must_match(self) -> None:
        """The password with another user name does not match."""
        provider = Postmark(secret=self.secret, user="other")
        with pytest.raises(VerificationError) as caught:
            provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert (caught.value.reason, caught.value.status) == ("no-match", 401)

    def test_user_name_has_no_colon(self) -> None:
        """A user name that Basic auth cannot carry is refused."""
        for user in ("", "a:b"):
            with pytest.raises(RegistrationError, match="user="):
                Postmark(secret="s", user=user)

    def test_body_that_is_no_event_is_malformed(self) -> None:
        """A body that is no object, or whose RecordType is no text, is malformed."""
        for body in (b"[]", b"1", b"a=b&c", b'{"RecordType": 1}'):
            with pytest.raises(VerificationError):
                self.provider().verify(self.headers(body=body), body, now=NOW * 1000)
