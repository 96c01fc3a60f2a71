"""Discord's interactions and webhook events."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flask_convex_http import Discord
from flask_convex_http.webhooks import Handshake
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

_PRIVATE = [Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name).digest()) for name in (b"1", b"2", b"3")]
KEYS = {key.public_key().public_bytes_raw().hex(): key for key in _PRIVATE}
USED, OLD, OTHER = KEYS


class TestDiscord(SenderContract):
    """Requests signed with cryptography."""

    build = Discord
    body = b'{"id": "846462639134605312", "type": 2, "token": "t", "data": {"name": "lamp"}}'
    event = ("846462639134605312", "application_command.lamp")
    needed = ("X-Signature-Ed25519", "X-Signature-Timestamp")
    timed = True
    secret, other_secret = USED, OTHER

    def signing_secret(self, secret: str) -> str:
        """Return the private key of a public one, as DER in base64."""
        der = KEYS[secret].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return base64.b64encode(der).decode()

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        signature = KEYS[secret].sign(b"%d%b" % (at, body)).hex()
        return {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": str(at)}

    @pytest.mark.parametrize(
        ("body", "reply"),
        [
            (b'{"id": "1", "application_id": "2", "token": "t", "type": 1, "version": 1}', {"type": 1}),
            (b'{"application_id": "2", "type": 0, "version": 1}', Handshake(status=204)),
            (b'{"application_id": "2", "type": 1, "event": {"type": "QUEST_USER_ENROLLMENT"}}', None),
            (b'{"id": "1", "type": true}', None),
        ],
    )
    def test_ping_has_its_response(self, body: bytes, reply: Any) -> None:
        """A signed PING receives the response that Discord expects, and no other request does."""
        provider = self.provider()
        event = provider.verify(self.headers(body=body), body, now=NOW * 1000)
        assert provider.handshake(event) == reply
        assert provider.needs_fresh_response(event) is ("event" not in event.payload)

    def test_rejected_request_is_401(self) -> None:
        """A wrong signature is 401, which Discord checks."""
        assert self.provider().profile.rejected_status == 401
