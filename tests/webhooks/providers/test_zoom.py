"""Zoom's webhooks."""

import hashlib
import hmac
import time
from pathlib import Path

from flask_convex_http import HttpRouter, MutationCtx, WebhookEvent, Zoom
from tests.web.apps import deployed
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

VALIDATION = b'{"payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}, "event_ts": 1654503849680, "event": "%b"}'


class TestZoom(SenderContract):
    """Deliveries by Zoom's documented rule."""

    build = Zoom
    body = b'{"event": "meeting.started", "payload": {"account_id": "A", "object": {"id": "1"}}}'
    event = (hashlib.sha256(body).hexdigest(), "meeting.started")
    needed = ("x-zm-signature", "x-zm-request-timestamp")
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the version, the time and the body."""
        signature = hmac.new(secret.encode(), b"v0:%d:%b" % (at, body), "sha256").hexdigest()
        return {"x-zm-signature": f"v0={signature}", "x-zm-request-timestamp": str(at)}

    def test_object_is_in_the_payload(self) -> None:
        """The data of an event is its `payload`, and the object is the `object` in it, if it has one."""
        provider = self.provider()
        event = provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data == {"account_id": "A", "object": {"id": "1"}}
        assert provider.object_of(event) == {"id": "1"}
        body = b'{"event": "app_deauthorized", "payload": {"account_id": "A"}}'
        other = provider.verify(self.headers(body=body), body, now=NOW * 1000)
        assert provider.object_of(other) == {"account_id": "A"}


def test_url_validation_is_signed_with_the_key_that_matched(tmp_path: Path) -> None:
    """A validation gets its token with the HMAC of it, runs no handler, and an unsigned one is rejected."""
    router, handled = HttpRouter("hooks", __name__), []

    @router.webhook("/zoom", Zoom(secret=["new", "old"]))
    def handle(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Remember that the handler ran."""
        handled.append(event.type)

    body = VALIDATION % b"endpoint.url_validation"
    with deployed(tmp_path, router) as app:
        for secret in ("new", "old"):
            headers = TestZoom.sign(secret, body, int(time.time()))
            response = app.test_client().post("/zoom", data=body, headers=headers)
            token = hmac.new(secret.encode(), b"qgg8vlvZRS6UYooatFL8Aw", "sha256").hexdigest()
            assert response.json == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": token}
        assert app.test_client().post("/zoom", data=body).status_code == 400
    assert handled == []


def test_validation_without_a_token_is_malformed(tmp_path: Path) -> None:
    """A signed validation whose token is missing is 400."""
    router = HttpRouter("hooks", __name__)

    @router.webhook("/zoom", Zoom(secret="new"))
    def handle(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Do nothing."""

    body = b'{"event": "endpoint.url_validation", "payload": {"plainToken": 7}}'
    with deployed(tmp_path, router) as app:
        headers = TestZoom.sign("new", body, int(time.time()))
        assert app.test_client().post("/zoom", data=body, headers=headers).status_code == 400
