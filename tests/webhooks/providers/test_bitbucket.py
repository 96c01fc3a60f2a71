"""Bitbucket's webhooks."""

import hmac

from flask_convex_http import Bitbucket
from tests.webhooks.providers.contract import Headers, SenderContract


class TestBitbucket(SenderContract):
    """Deliveries by Bitbucket's documented rule."""

    build = Bitbucket
    body = b'{"repository": {"full_name": "example/lamps"}, "push": {"changes": []}}'
    event = ("r-1", "repo:push")
    needed = ("X-Hub-Signature", "X-Event-Key")
    unsigned_headers = ("X-Event-Key",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {
            "X-Hub-Signature": "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex(),
            "X-Event-Key": "repo:push",
            "X-Request-UUID": "r-1",
        }
