"""Twilio's webhooks."""

import base64
import functools
import hashlib
import hmac
from urllib.parse import parse_qsl

import pytest

from flask_convex_http import Twilio, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

URL = "https://shop.example/hooks/twilio"
BODY = b"To=%2B15557771212&From=%2B15558675310&Body=Caf%C3%A9&SmsStatus=received"


def signature(secret: str, url: str, body: bytes = b"", algorithm: str = "sha1") -> str:
    """Sign a URL and the fields of a form by Twilio's documented rule."""
    fields = "".join(name + value for name, value in sorted(set(parse_qsl(body.decode(), keep_blank_values=True))))
    return base64.b64encode(hmac.digest(secret.encode(), (url + fields).encode(), algorithm)).decode()


class TestTwilio(SenderContract):
    """Forms and JSON by Twilio's documented rule."""

    build = functools.partial(Twilio, url=URL)
    url, fixes_url = URL, True
    body = BODY
    event = ("t-1", "message.received")
    needed = ("X-Twilio-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the URL and the form."""
        try:
            text = signature(secret, URL, body)
        except ValueError:
            text = signature(secret, URL)
        return {"X-Twilio-Signature": text, "I-Twilio-Idempotency-Token": "t-1"}

    def test_documented_vector_verifies(self) -> None:
        """The example of Twilio's documentation verifies."""
        url = "https://example.com/myapp.php?foo=1&bar=2"
        form = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212"
        headers = {"X-Twilio-Signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}
        assert Twilio(secret="12345").verify(headers, form, url=url, now=NOW * 1000).data["Digits"] == "1234"

    @pytest.mark.parametrize("url", ["https://shop.example:443/hooks/twilio", "https://shop.example/hooks/twilio"])
    def test_port_may_be_signed(self, url: str) -> None:
        """A signature of the URL with its port verifies, as does one of the URL without it."""
        headers = {"X-Twilio-Signature": signature("s", url, BODY)}
        for received in (URL, "https://shop.example:443/hooks/twilio"):
            Twilio(secret="s").verify(headers, BODY, url=received, now=NOW * 1000)
        with pytest.raises(VerificationError):
            Twilio(secret="s").verify(headers, BODY, url=f"{URL}?a=1", now=NOW * 1000)

    def test_json_has_its_digest_in_the_url(self) -> None:
        """A JSON body verifies with its digest in the signed URL, and each event of a batch is its own."""
        body = b'[{"specversion": "1.0", "id": "EZ1", "type": "com.twilio.messaging.message.sent", "data": {}}]'
        url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"
        provider, headers = Twilio(secret="s"), {"X-Twilio-Signature": signature("s", url)}
        (event,) = provider.split(provider.verify(headers, body, url=url, now=NOW * 1000))
        assert (event.id, event.type) == ("EZ1", "com.twilio.messaging.message.sent")
        with pytest.raises(VerificationError):
            provider.verify(headers, body + b" ", url=url, now=NOW * 1000)

    def test_key_of_a_webhook_signs_with_sha256(self) -> None:
        """A webhook with a key of its own is signed with SHA-256."""
        headers = {
            "X-Twilio-Signature": signature("s", URL, BODY, "sha256"),
            "X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
        }
        Twilio(secret="s").verify(headers, BODY, url=URL, now=NOW * 1000)

    @pytest.mark.parametrize(
        ("form", "name"),
        [
            (b"MessageStatus=delivered&SmsStatus=delivered", "message.delivered"),
            (b"CallSid=CA1&CallStatus=ringing", "call.ringing"),
            (b"CallSid=CA1&CallStatus=completed&RecordingStatus=completed", "recording.completed"),
            (b"Other=1", ""),
        ],
    )
    def test_type_is_made_of_the_status(self, form: bytes, name: str) -> None:
        """The type tells what the form is about and its status."""
        assert self.provider().verify(self.headers(body=form), form, now=NOW * 1000).type == name
