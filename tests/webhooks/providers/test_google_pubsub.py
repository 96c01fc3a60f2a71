"""Google Cloud Pub/Sub push."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_convex_http import GooglePubSub, Provider, RegistrationError, VerificationError
from flask_convex_http.identities.key_cache import KeyCache
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from tests.identities.issuer import Issuer, issuing
from tests.lengths import examples

ACCOUNT = "push@example.iam.gserviceaccount.com"
AUDIENCE = "https://shop.example/webhooks/pubsub"


@pytest.fixture(name="google", scope="module")
def _google() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.add_key("RS256", "google_1")
        yield issuer


class TestGooglePubSub(ProviderContract):
    """The contract, with keys that were fetched before. The secrets are the numbers of keys."""

    body = b'{"message": {"messageId": "m-1", "attributes": {"eventType": "OBJECT_FINALIZE"}, "data": "e30="}}'
    secret, other_secret = "0", "1"
    most_random = examples(100, sample=5)

    def provider(self, secret: str) -> Provider:
        """Return the provider, which has no secret."""
        google, issuer = GooglePubSub(audience=AUDIENCE, service_account=ACCOUNT), Issuer()
        issuer.add_key("RS256", "google_1")
        google._cache = KeyCache("google", lambda: {"keys": issuer.keys}, lambda: time.time() * 1000)
        return google

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign a token with a key."""
        return SignedRequest(body=body, headers=headers(Issuer(), number=int(secret)))

    def test_secret_is_not_shown(self) -> None:
        """There is no secret."""
        assert not self.provider("").has_secrets


def provider(google: Issuer) -> GooglePubSub:
    """Return the provider, with the keys of a stand-in of Google."""
    return GooglePubSub(audience=AUDIENCE, service_account=ACCOUNT, jwks=f"{google.url}/certs")


def headers(google: Issuer, algorithm: str = "RS256", number: int = 0, **changes: Any) -> dict[str, str]:
    """Return the header with a token in Google's documented form."""
    claims = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": ACCOUNT,
        "email_verified": True,
        **changes,
    }
    kid = "google_1" if algorithm == "RS256" else "key_1"
    return {"Authorization": "Bearer " + google.token(algorithm, kid, number, **claims)}


def body(data: bytes | None = b'{"order": 42}', **attributes: str) -> bytes:
    """Return a message in its envelope."""
    encoded = {} if data is None else {"data": base64.b64encode(data).decode()}
    return json.dumps({"message": {"messageId": "m-1", "attributes": attributes, **encoded}}).encode()


def test_message_is_an_event(google: Issuer) -> None:
    """A message with a token of the service account is an event with the decoded data."""
    event = provider(google).verify(headers(google), body(eventType="OBJECT_FINALIZE"))
    assert (event.id, event.type, event.data) == ("m-1", "OBJECT_FINALIZE", {"order": 42})


@pytest.mark.parametrize(("data", "read"), [(b"hello", "hello"), (b"\xff", b"\xff"), (None, None), (b"", None)])
def test_data_is_json_text_or_bytes(google: Issuer, data: bytes | None, read: object) -> None:
    """Data that is no JSON is a text, or its bytes. A message may have none."""
    assert provider(google).verify(headers(google), body(data)).data == read


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "other@example.iam.gserviceaccount.com"},
        {"email_verified": False},
        {"aud": "https://other.example"},
        {"iss": "https://attacker.example"},
        {"exp": int(time.time()) - 3600},
        {"number": 1},
        {"algorithm": "ES256"},
    ],
)
def test_other_tokens_are_rejected(google: Issuer, changes: dict[str, Any]) -> None:
    """A token of another account, audience, issuer, key or algorithm, or an old one, is rejected."""
    with pytest.raises(VerificationError) as caught:
        provider(google).verify(headers(google, **changes), body())
    assert caught.value.reason in ("no-match", "too-old")


@pytest.mark.parametrize("text", [b"{}", b"[]", b'{"message": {"messageId": "1", "data": "!"}}', b'{"message": 1}'])
def test_body_without_a_message_is_malformed(google: Issuer, text: bytes) -> None:
    """A body that is no message in an envelope is malformed."""
    with pytest.raises(VerificationError) as caught:
        provider(google).verify(headers(google), text)
    assert caught.value.reason == "malformed"


def test_service_account_is_an_address() -> None:
    """Anything but an e-mail address is refused: any Google account could push otherwise."""
    with pytest.raises(RegistrationError, match="service_account"):
        GooglePubSub(audience=AUDIENCE, service_account="push")
