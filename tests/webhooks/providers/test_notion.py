"""Notion's webhooks."""

import hmac
from pathlib import Path

import pytest

from flask_convex_http import Delivery, HttpRouter, MutationCtx, Notion, RegistrationError, WebhookEvent
from tests.web.apps import deployed
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

HANDSHAKE = b'{"verification_token": "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"}'


class TestNotion(SenderContract):
    """Deliveries by Notion's documented rule."""

    build = Notion
    body = b'{"id": "367cba44", "type": "page.created", "entity": {"id": "153104cd", "type": "page"}, "data": {}}'
    event = ("367cba44", "page.created")
    needed = ("X-Notion-Signature",)
    secret, other_secret = "secret_oneoneone", "secret_threethree"

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Sign the body."""
        return {"X-Notion-Signature": f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"}

    def test_data_is_the_payload(self) -> None:
        """The data of an event is the payload, whose entity is beside its `data`."""
        event = self.provider().verify(self.headers(), self.body, now=NOW * 1000)
        assert event.data["entity"] == {"id": "153104cd", "type": "page"}

    def test_callback_must_be_a_function(self) -> None:
        """A callback that cannot be called is rejected when the provider is created."""
        with pytest.raises(RegistrationError, match="such as print"):
            Notion(secret=self.secret, on_verification_token="print")  # type: ignore[arg-type]  # the mistake


def test_verification_token_is_passed_on(tmp_path: Path) -> None:
    """The request with a new subscription's token is 200 and reaches the callback. Any other unsigned one is 400."""
    tokens: list[str] = []
    provider = Notion(secret="pending", on_verification_token=tokens.append)
    router = HttpRouter("hooks", __name__)

    @router.webhook("/notion", provider)
    def handle(ctx: MutationCtx, event: WebhookEvent) -> None:
        """Do nothing."""

    with deployed(tmp_path, router) as app:
        client = app.test_client()
        assert client.post("/notion", data=HANDSHAKE).status_code == 200
        for body in (b"", b"[]", HANDSHAKE[:-1] + b', "b": 1}', HANDSHAKE.replace(b"secret_", b"secret ")):
            assert client.post("/notion", data=body).status_code == 400
        assert client.post("/notion", data=HANDSHAKE, headers={"X-Notion-Signature": "sha256=00"}).status_code == 400
    assert tokens == ["secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"]


def test_verification_token_is_rejected_without_a_callback() -> None:
    """Without a callback, or in a body that is too long, a token is ignored."""
    long = b'{"verification_token": "%b"}' % (b"a" * 2000)
    for callback, body in ((None, HANDSHAKE), (print, long)):
        provider = Notion(secret="pending", on_verification_token=callback)
        assert provider.unsigned_handshake(Delivery({}, body, 0)) is None
