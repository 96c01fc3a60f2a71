"""The contract suite for users' providers, on providers of this package and on broken ones."""

import hmac
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from flask_convex_http import (
    Content,
    Delivery,
    Ed25519Signature,
    HmacSignature,
    Provider,
    SharedSecret,
    VerificationError,
)
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from tests.webhooks.senders import SENDERS, Sender
from tests.webhooks.test_families import ed25519_keys


class SenderContract(ProviderContract):
    """The contract of a sender of `senders.py`, whose deliveries the vendor's library signs."""

    sender: ClassVar[Sender]

    def __init_subclass__(cls, **options: Any) -> None:
        """Take the body and the secrets of the sender."""
        super().__init_subclass__(**options)
        cls.body, cls.secret, cls.other_secret = cls.sender.body, cls.sender.secret, cls.sender.other_secret

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return self.sender.provider(secret)

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign with the vendor's library."""
        return SignedRequest(body=body, headers=self.sender.headers(secret=secret, body=body, at=int(now // 1000)))


class TestStripe(SenderContract):
    """Stripe's contract."""

    sender = SENDERS["stripe"]


class TestSvix(SenderContract):
    """Svix's contract."""

    sender = SENDERS["svix"]


class TestStandardWebhooks(SenderContract):
    """The contract of Standard Webhooks."""

    sender = SENDERS["standard"]


class TestStandardPublicKey(SenderContract):
    """The contract of Standard Webhooks with a public key."""

    sender = SENDERS["ed25519"]


class TestSlack(SenderContract):
    """Slack's contract."""

    sender = SENDERS["slack"]


class TestShopify(SenderContract):
    """Shopify's contract."""

    sender = SENDERS["shopify"]


class TestGitHub(SenderContract):
    """GitHub's contract."""

    sender = SENDERS["github"]


class TestHmac(SenderContract):
    """The contract of an HMAC."""

    sender = SENDERS["hmac"]


class TestSharedSecret(ProviderContract):
    """The contract of a secret in the URL."""

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return SharedSecret(secret=secret, query="token", id_field="id")


class TestSignedUrl(ProviderContract):
    """The contract of a signed URL and a batch."""

    body = b'[{"id": "1", "type": "a"}, {"id": "2", "type": "b"}]'

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return HmacSignature(
            secret=secret,
            header="X-Signature",
            timestamp_name="t",
            signature_name="v1",
            signed="{timestamp}.{method}.{url}.{body}",
            id_field="id",
            type_field="type",
            batch=True,
        )


class TestEd25519(ProviderContract):
    """The contract of a public key."""

    secret = ed25519_keys()[0]
    other_secret = ed25519_keys("another key")[0]
    signing_secrets = {keys[0]: keys[-1] for keys in (ed25519_keys(), ed25519_keys("another key"))}

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return Ed25519Signature(secret=secret, header="X-S", timestamp_header="X-T", signed="{timestamp}{body}")


class Lax(HmacSignature):
    """A provider with a mistake, which the suite finds."""

    mistake_made = ""

    def __init__(self, mistake_made: str) -> None:
        super().__init__(secret=ProviderContract.secret, header="X-Signature", id_field="id")
        self.mistake_made = mistake_made

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Verify all, or a part of the body."""
        if self.mistake_made in ("all", "none"):
            return self.mistake_made == "all"
        if self.mistake_made == "url":
            return delivery.url == "https://receiver.example/webhook?a=1" and super().matches(delivery, key)
        if self.mistake_made == "part":
            return hmac.compare_digest(self._short(delivery.body, key), delivery.header("X-Signature"))
        return super().matches(delivery, key)

    def read(self, delivery: Delivery) -> Content:
        """Read an event, with an id of its own for each delivery."""
        content = super().read(delivery)
        return replace(content, id=str(delivery.now)) if self.mistake_made == "id" else content

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Sign as this provider verifies."""
        if self.mistake_made == "part":
            return request.with_headers({"X-Signature": self._short(request.body, secret.encode())})
        return super().sign_request(request, secret=secret, event_id=event_id, event_type=event_type, now=now)

    @staticmethod
    def _short(body: bytes, key: bytes) -> str:
        return hmac.digest(key, body[:10], "sha256").hex()


@pytest.mark.parametrize(
    ("mistake", "test"),
    [
        ("all", "test_wrong_secret_is_rejected"),
        ("all", "test_altered_body_is_rejected"),
        ("all", "test_garbage_is_rejected"),
        ("all", "test_random_input_is_rejected"),
        ("all", "test_altered_header_is_rejected"),
        ("id", "test_duplicate_has_the_same_id"),
        ("none", "test_rotated_secrets_are_both_accepted"),
        ("part", "test_altered_body_is_rejected"),
        ("url", "test_stored_delivery_verifies_again"),
    ],
)
def test_suite_finds_a_mistake(mistake: str, test: str) -> None:
    """A provider that accepts too much, or does not say that it needs the URL, fails the suite."""

    class Contract(ProviderContract):
        def provider(self, secret: str) -> Provider:
            return Lax(mistake)

    def run() -> Any:
        return getattr(Contract(), test)()

    with pytest.raises((AssertionError, VerificationError)):
        run()
