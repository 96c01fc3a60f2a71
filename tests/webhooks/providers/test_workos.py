"""WorkOS's webhooks."""

import hmac

from flask_convex_http import WorkOS
from tests.webhooks.providers.contract import Headers, SenderContract


class TestWorkOS(SenderContract):
    """Deliveries by the rule of WorkOS's package."""

    build = WorkOS
    body = b'{"id": "event_1", "event": "user.created", "data": {"id": "user_1"}, "created_at": "2025-06-15T15:06:40Z"}'
    event = ("event_1", "user.created")
    needed = ("WorkOS-Signature",)
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time in milliseconds and the body."""
        signature = hmac.digest(secret.encode(), b"%d000.%b" % (at, body), "sha256").hex()
        return {"WorkOS-Signature": f"t={at}000, v1={signature}"}
