"""ElevenLabs' webhooks."""

import hashlib
import hmac
from datetime import timedelta
from functools import partial

from flask_convex_http import ElevenLabs
from tests.webhooks.providers.contract import NOW, Headers, SenderContract


class TestElevenLabs(SenderContract):
    """Deliveries by ElevenLabs' documented rule."""

    build = partial(ElevenLabs, tolerance=timedelta(minutes=5))
    body = b'{"type": "post_call_transcription", "event_timestamp": 1750000000, "data": {"agent_id": "xyz"}}'
    event = (hashlib.sha256(body).hexdigest(), "post_call_transcription")
    needed = ("ElevenLabs-Signature",)
    timed = True
    secret, other_secret = "wsec_one", "wsec_three"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the time and the body."""
        signature = hmac.new(secret.encode(), b"%d.%b" % (at, body), "sha256").hexdigest()
        return {"ElevenLabs-Signature": f"t={at},v0={signature}"}

    def test_tolerance_is_the_vendors(self) -> None:
        """Without a tolerance a delivery is accepted for 30 minutes, as in the vendor's library."""
        provider = ElevenLabs(secret=self.secret)
        event = provider.verify(self.headers(), self.body, now=(NOW + 1799) * 1000)
        assert event.data == {"agent_id": "xyz"}
