"""RevenueCat's webhooks, with a static header and with a signature."""

import functools
import hmac

from flask_convex_http import RevenueCat
from tests.webhooks.providers.contract import Headers, SenderContract

BODY = b'{"api_version": "1.0", "event": {"id": "e-1", "type": "RENEWAL", "app_user_id": "user_1"}}'


class TestRevenueCat(SenderContract):
    """Deliveries with the static header."""

    build = RevenueCat
    body = BODY
    event = ("e-1", "RENEWAL")
    needed = ("Authorization",)
    signs_body = False
    secret, other_secret = "Bearer one", "Bearer three"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the secret in its header."""
        return {"Authorization": secret}


class TestRevenueCatSigned(SenderContract):
    """Deliveries of a webhook with HMAC signing."""

    build = functools.partial(RevenueCat, signed=True)
    body = BODY
    event = ("e-1", "RENEWAL")
    needed = ("X-RevenueCat-Webhook-Signature",)
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        signature = hmac.digest(secret.encode(), b"%d.%b" % (at, body), "sha256").hex()
        return {"X-RevenueCat-Webhook-Signature": f"t={at},v1={signature}"}
