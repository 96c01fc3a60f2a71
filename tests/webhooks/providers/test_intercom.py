"""Intercom's webhooks."""

import hashlib
import hmac

from flask_convex_http import Intercom
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

PING = b'{"type": "notification_event", "id": null, "topic": "ping", "data": {"item": {"type": "ping"}}}'


class TestIntercom(SenderContract):
    """Deliveries by Intercom's documented rule."""

    build = Intercom
    body = b'{"type": "notification_event", "id": "notif_1", "topic": "user.created", "data": {"item": {"id": "u"}}}'
    event = ("notif_1", "user.created")
    needed = ("X-Hub-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body with SHA-1."""
        return {"X-Hub-Signature": f"sha1={hmac.new(secret.encode(), body, 'sha1').hexdigest()}"}

    def test_data_is_the_item(self) -> None:
        """The data of an event is `data.item`."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"id": "u"}

    def test_ping_has_no_id(self) -> None:
        """A ping, whose id is null, has the digest of its body as its id."""
        event = self.provider().verify(self.headers(body=PING), PING, now=NOW * 1000)
        assert (event.id, event.type) == (hashlib.sha256(PING).hexdigest(), "ping")
