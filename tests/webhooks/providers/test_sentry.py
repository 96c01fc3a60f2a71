"""Sentry's webhooks."""

import hashlib
import hmac

import pytest

from flask_convex_http import Sentry, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestSentry(SenderContract):
    """Deliveries by Sentry's documented rule."""

    build = Sentry
    body = b'{"action": "created", "installation": {"uuid": "24b5"}, "data": {"issue": {"id": "1"}}, "actor": {}}'
    event = (hashlib.sha256(body).hexdigest(), "issue.created")
    needed = ("Sentry-Hook-Signature",)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body. The other headers are not signed."""
        return {
            "Sentry-Hook-Signature": hmac.new(secret.encode(), body, "sha256").hexdigest(),
            "Sentry-Hook-Resource": "issue",
            "Sentry-Hook-Timestamp": str(at),
            "Request-ID": "4a2b",
        }

    def test_content_is_recognised_under_another_resource(self) -> None:
        """A replay with another resource and request id has the same id and fingerprint, and the data is `data`."""
        provider, headers = self.provider(), self.headers()
        event = provider.verify(headers, self.body, now=NOW * 1000)
        changed = {**headers, "Request-ID": "other", "Sentry-Hook-Resource": "error"}
        replay = provider.verify(changed, self.body, now=NOW * 1000)
        assert (event.id, provider.fingerprint(event)) == (replay.id, provider.fingerprint(replay))
        assert event.data == {"issue": {"id": "1"}}

    @pytest.mark.parametrize("resource", ["", "a b", "é"])
    def test_resource_is_an_identifier(self, resource: str) -> None:
        """A resource that is missing or no printable word is rejected."""
        with pytest.raises(VerificationError, match="Sentry-Hook-Resource"):
            self.provider().verify({**self.headers(), "Sentry-Hook-Resource": resource}, self.body, now=NOW * 1000)
