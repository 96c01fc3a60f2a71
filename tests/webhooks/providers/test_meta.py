"""Meta's webhooks."""

import hashlib
import hmac
from urllib.parse import urlencode

import pytest

from flask_convex_http import Meta
from flask_convex_http.webhooks import Delivery
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

BODY = (
    b'{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {}}]}]}'
)


class TestMeta(SenderContract):
    """Deliveries by Meta's documented rule."""

    build = Meta
    body = BODY
    event = (hashlib.sha256(BODY).hexdigest(), "whatsapp_business_account.messages")
    needed = ("X-Hub-Signature-256",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {"X-Hub-Signature-256": "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()}

    @pytest.mark.parametrize(
        ("body", "name"),
        [
            (b'{"object": "page", "entry": [{"messaging": [{}]}]}', "page.messaging"),
            (b'{"object": "page", "entry": [{"changes": [{"field": "a"}, {"field": "b"}]}]}', "page"),
            (b'{"object": "page", "entry": [1, {"changes": 2}, {"changes": [3, {"field": 4}]}]}', "page"),
            (b'{"object": "page"}', "page"),
        ],
    )
    def test_type_has_the_only_field(self, body: bytes, name: str) -> None:
        """The type has the field of the entries if all have the same one."""
        assert self.provider().verify(self.headers(body=body), body, now=NOW * 1000).type == name

    @pytest.mark.parametrize(
        ("changes", "reply"),
        [
            ({}, "1158201444"),
            ({"hub.verify_token": "another"}, None),
            ({"hub.verify_token": ""}, None),
            ({"hub.mode": "unsubscribe"}, None),
        ],
    )
    def test_url_is_verified_with_the_token(self, changes: dict[str, str], reply: str | None) -> None:
        """A GET request with the token receives its challenge."""
        given = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "lamp"}
        url = "https://shop.example/hooks/meta?" + urlencode({**given, **changes})
        delivery = Delivery({":method": "GET", ":url": url}, b"", NOW * 1000)
        assert self.provider(verify_token="lamp").unsigned_handshake(delivery) == reply
        assert self.provider().unsigned_handshake(delivery) is None
