"""SendGrid's Event Webhook."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flask_convex_http import SendGrid, VerificationError
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

#: The test vector of SendGrid's own packages.
VECTOR_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6"
    "wEA3F+g=="
)
VECTOR_SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
VECTOR_TIME = 1_600_112_502
VECTOR_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)


def private_key(number: int) -> str:
    """Return a private key as base64, from which the public one is derived."""
    der = ec.derive_private_key(number, ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(der).decode()


class TestSendGrid(SenderContract):
    """Deliveries signed with a private key by the rule of SendGrid's package."""

    build = SendGrid
    body = (
        b'[{"email": "a@example.com", "event": "delivered", "sg_event_id": "e-1"},'
        b' {"email": "b@example.com", "event": "open", "sg_event_id": "e-2"}]'
    )
    event = (hashlib.sha256(body).hexdigest(), "")
    needed = ("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp")
    timed = True
    secret, other_secret = private_key(1), private_key(3)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        key = serialization.load_der_private_key(base64.b64decode(secret), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signature = key.sign(str(at).encode() + body, ec.ECDSA(hashes.SHA256()))
        return dict(zip(TestSendGrid.needed, (base64.b64encode(signature).decode(), str(at)), strict=True))

    def timestamps(self) -> tuple[str, ...]:
        """Return the signature's header: an ECDSA signature is never the same twice."""
        return self.needed[:1]

    def test_published_vector_is_accepted(self) -> None:
        """The test vector of SendGrid's packages verifies, and its event is read."""
        headers = dict(zip(self.needed, (VECTOR_SIGNATURE, str(VECTOR_TIME)), strict=True))
        provider = SendGrid(secret=VECTOR_KEY)
        (event,) = provider.split(provider.verify(headers, VECTOR_BODY, now=VECTOR_TIME * 1000))
        assert (event.type, event.data["reason"]) == ("dropped", "Bounced Address")

    def test_each_element_is_an_event(self) -> None:
        """Each element of the list is an event with its own id."""
        provider = self.provider()
        events = provider.split(provider.verify(self.headers(), self.body, now=NOW * 1000))
        assert [(event.id, event.type) for event in events] == [("e-1", "delivered"), ("e-2", "open")]

    def test_samples_are_events_of_the_sender(self) -> None:
        """Each sample event has its type when it is signed, verified and split."""
        provider = self.provider()
        for name in event_types("sendgrid"):
            (sample,) = make_deliveries(provider, name, Faults(), now=NOW * 1000)
            (event,) = provider.split(provider.verify(sample.headers, sample.body, now=NOW * 1000))
            assert (event.id, event.type) == (sample.id, name)

    def test_body_that_is_no_list_is_malformed(self) -> None:
        """A signed body that is no list is malformed, and so is an element that is no event."""
        for body in (b"{}", b'{"event": "open", "sg_event_id": "e-1"}', json.dumps([1]).encode(), b"[{}]"):
            with pytest.raises(VerificationError) as caught:
                self.provider().split(self.provider().verify(self.headers(body=body), body, now=NOW * 1000))
            assert caught.value.reason == "malformed"
