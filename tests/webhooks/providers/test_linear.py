"""Linear's webhooks."""

import hmac

from flask_convex_http import Linear
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestLinear(SenderContract):
    """Deliveries by Linear's documented rule."""

    build = Linear
    body = b'{"action": "create", "type": "Issue", "data": {"id": "i-1"}, "webhookTimestamp": %d000}' % NOW
    event = ("d-1", "Issue.create")
    now = NOW * 1000.0
    needed = ("Linear-Signature",)
    timed = True
    secret, other_secret = "lin_wh_one", "lin_wh_three"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {
            "Linear-Signature": hmac.digest(secret.encode(), body, "sha256").hex(),
            "Linear-Delivery": "d-1",
            "Linear-Event": "Issue",
        }

    def test_time_is_a_number(self) -> None:
        """A signed body without a time in milliseconds is malformed."""
        for time in (b"null", b'"1750000000000"', b"true", b"1.5"):
            body = self.body.replace(b"%d000" % NOW, time)
            assert self.rejection(self.headers(body=body), body) == "malformed"

    def test_attempts_have_one_fingerprint(self) -> None:
        """Two attempts that differ in their time alone have the same content."""
        provider, later = self.provider(), self.body.replace(b"%d000" % NOW, b"%d000" % (NOW + 60))
        first = provider.verify(self.headers(), self.body, now=NOW * 1000)
        second = provider.verify(self.headers(body=later), later, now=(NOW + 60) * 1000)
        other = self.body.replace(b"i-1", b"i-2")
        third = provider.verify(self.headers(body=other), other, now=NOW * 1000)
        assert provider.fingerprint(first) == provider.fingerprint(second) != provider.fingerprint(third)
