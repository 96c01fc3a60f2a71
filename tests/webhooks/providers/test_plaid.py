"""Plaid's webhooks."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest

from flask_convex_http import (
    Plaid,
    RegistrationError,
    VerificationError,
    VerificationUnavailableError,
    per_tenant,
)
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.providers.plaid import PublicKey
from flask_convex_http.webhooks.remote import RemoteDocuments
from tests.identities.issuer import jwk_of, private_key
from tests.lengths import examples

BODY = b'{\n  "webhook_type": "TRANSACTIONS",\n  "webhook_code": "SYNC_UPDATES_AVAILABLE",\n  "item_id": "item_1"\n}'
KID, SECRET, CLIENT = (
    "bfbd5111-8e33-4643-8ced-b2e642a72f3c",
    "5fa7be7c4f5c756f3017b3a8c488c3",
    "59c5b5d1f9f1b5b1c5b5d1f9",
)


class Api:
    """A stand-in of Plaid's API with one key.

    Attributes:
        url: Its URL.
        key: The key.
        requests: The bodies that it received.
    """

    def __init__(self) -> None:
        self.url = ""
        self.key = jwk_of("ES256", private_key("ES256", 0), KID, created_at=1, expired_at=None)
        self.requests: list[dict[str, Any]] = []

    def respond(self, path: str, request: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and the body of a response."""
        self.requests.append(request)
        is_known = (request["client_id"], request["secret"], request["key_id"]) == (CLIENT, SECRET, KID)
        if path != "/webhook_verification_key/get" or not is_known:
            return 400, {"error_type": "INVALID_INPUT", "error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID"}
        return 200, {"key": self.key, "request_id": "r-1"}


@pytest.fixture(name="api")
def _api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            # Credentials are in the body or in headers.
            credentials = {"client_id": self.headers["PLAID-CLIENT-ID"], "secret": self.headers["PLAID-SECRET"]}
            status, document = api.respond(self.path, credentials | given)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield api
    server.shutdown()
    server.server_close()
    thread.join()


def plaid(api: Api, **options: Any) -> Plaid:
    """Return the provider, with a stand-in of Plaid's API."""
    return Plaid(**{"client_id": CLIENT, "secret": SECRET, "api_url": api.url, **options})


def headers(
    body: bytes = BODY, *, algorithm: str = "ES256", kid: Any = KID, number: int = 0, **claims: Any
) -> dict[str, str]:
    """Return the header of a delivery by Plaid's documented rule."""
    signed = {"iat": int(time.time()), "request_body_sha256": hashlib.sha256(body).hexdigest(), **claims}
    token = jwt.encode(signed, private_key(algorithm, number), algorithm, headers={"kid": kid})
    return {"Plaid-Verification": token}


def known(given: Plaid) -> Plaid:
    """Return a provider with one key that was fetched before."""
    key = PublicKey({"key": jwk_of("ES256", private_key("ES256", 0), KID)})
    given._public_keys = RemoteDocuments("Plaid", lambda key_id: key)
    return given


class TestPlaid(ProviderContract):
    """The contract, with a key that was fetched before. The secrets do not sign, so the other one is of a forger."""

    body = BODY
    secret, other_secret = SECRET, "another"
    most_random = examples(100, sample=5)

    def provider(self, secret: str) -> Plaid:
        """Return the provider."""
        return known(Plaid(client_id=CLIENT, secret=secret))

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign with Plaid's key, or with that of a forger."""
        return SignedRequest(body=body, headers=headers(body, number=int(secret != SECRET), iat=int(now // 1000)))

    def test_duplicate_has_the_same_id(self) -> None:
        """A repeated delivery has the same id, and one that is signed anew only the same content."""
        provider, now = self.provider(SECRET), int(time.time())
        signed = headers(iat=now)
        first, second = (provider.verify(signed, BODY, now=now * 1000 + later) for later in (0, 60_000))
        third = provider.verify(headers(iat=now + 60), BODY, now=(now + 60) * 1000)
        assert first.id == second.id != third.id
        assert provider.fingerprint(first) == provider.fingerprint(third)

    def test_rotated_secrets_are_both_accepted(self) -> None:
        """Each secret fetches the key that verifies."""
        provider = known(self.provider("x").with_secrets(["another", SECRET]))
        assert provider.verify(headers(), BODY).secret_label == "secret 1"


def rejection(provider: Plaid, given: dict[str, str], body: bytes = BODY) -> str:
    """Return why a delivery is rejected."""
    with pytest.raises(VerificationError) as caught:
        provider.verify(given, body)
    return caught.value.reason


def test_delivery_is_an_event(api: Api) -> None:
    """A delivery is an event with its type and code, and its key is fetched once, with the credentials."""
    provider = plaid(api)
    signed = headers()
    event = provider.verify(signed, BODY)
    assert (event.type, event.data["item_id"]) == ("TRANSACTIONS.SYNC_UPDATES_AVAILABLE", "item_1")
    assert provider.verify(signed, BODY).id == event.id
    assert api.requests == [{"client_id": CLIENT, "secret": SECRET, "key_id": KID}]
    assert provider.event(event.headers, BODY, received_at=event.received_at, secret_label="secret 1") == event


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": 1}, "no-match"),
        ({"request_body_sha256": "0" * 64}, "no-match"),
        ({"request_body_sha256": None}, "no-match"),
        ({"iat": 1}, "too-old"),
        ({"iat": 9_999_999_999}, "too-new"),
        ({"iat": None}, "malformed"),
        ({"iat": True}, "malformed"),
        ({"algorithm": "EdDSA"}, "malformed"),
        ({"kid": "../../item/get"}, "malformed"),
    ],
)
def test_other_tokens_are_rejected(api: Api, changes: dict[str, Any], reason: str) -> None:
    """A token of another key, body, time or algorithm is rejected."""
    assert rejection(plaid(api), headers(**changes)) == reason
    assert len(api.requests) == (1 if changes == {"number": 1} else 0)


def test_altered_delivery_is_rejected(api: Api) -> None:
    """A body with other white space, a missing header, and text in place of a token are rejected without a fetch."""
    provider = plaid(api)
    assert rejection(provider, headers(), BODY.replace(b"\n  ", b"\n    ")) == "no-match"
    assert rejection(provider, {}) == "missing-header"
    for text in ("x", "a.b.c", "é", "x" * 20_000, headers()["Plaid-Verification"][:-3] + ".x"):
        assert rejection(provider, {"Plaid-Verification": text}) == "malformed"
    assert api.requests == []


def test_signed_nonsense_is_malformed(api: Api) -> None:
    """A signed body that is no event is malformed."""
    for body in (b"[]", b"{}", b'{"webhook_type": "ITEM"}', b"{"):
        assert rejection(plaid(api), headers(body), body) == "malformed"


def test_expired_key_verifies_nothing(api: Api) -> None:
    """A delivery that is signed with an expired key is rejected."""
    api.key["expired_at"] = 1_600_000_000
    assert rejection(plaid(api), headers()) == "no-match"


def test_key_that_cannot_be_fetched_is_a_503(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """With wrong credentials, an unknown key or none in the response, a delivery is neither accepted nor rejected."""
    with pytest.raises(VerificationUnavailableError) as caught:
        plaid(api, secret="another secret").verify(headers(), BODY)
    assert "another secret" not in str(caught.value) + caplog.text
    with pytest.raises(VerificationUnavailableError):
        plaid(api).verify(headers(kid="unknown"), BODY)
    for key in ({}, None, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}):
        api.key = key  # type: ignore[assignment]  # what a broken server may return
        with pytest.raises(VerificationUnavailableError):
            plaid(api).verify(headers(), BODY)


def test_secret_is_rotated(api: Api) -> None:
    """While a secret is rotated, the key is fetched with the one that Plaid accepts."""
    provider = plaid(api, secret=["the old secret", SECRET])
    assert provider.verify(headers(), BODY).type
    assert [request["secret"] for request in api.requests] == ["the old secret", SECRET]
    assert plaid(api, secret="x").with_secrets(SECRET).verify(headers(), BODY).type


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"client_id": " "}, "client_id"),
        ({"environment": "development"}, "environment must be one of production, sandbox"),
        ({"api_url": "http://plaid.example"}, "api_url"),
        ({"secret": per_tenant("tenant", "tenants:secret")}, "per_tenant"),
    ],
)
def test_wrong_argument_is_refused(api: Api, options: dict[str, Any], message: str) -> None:
    """A wrong argument is named when the provider is created."""
    with pytest.raises(RegistrationError, match=message):
        plaid(api, **options)
