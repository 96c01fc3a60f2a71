"""PayPal's webhooks."""

import base64
import zlib
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import hashes

from flask_convex_http import MissingSecretError, PayPal, Provider, VerificationError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from tests.lengths import examples
from tests.webhooks.providers.certificates import Server, certificate, rsa_signature, serving, serving_from_memory

ID = "1JE4291016473214C"
BODY = b'{"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "c-1"}}'
MEMORY = "https://certificates.example"
GENUINE = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-ad47cb89"


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with serving({"/a": certificate("paypal")}) as server:
        yield server


@pytest.fixture(name="paypal")
def _paypal(server: Server) -> PayPal:
    return PayPal(secret=ID, certificate_urls=[server.url])


class TestPayPal(ProviderContract):
    """The contract, with a certificate that was fetched before."""

    body = BODY
    secret, other_secret = ID, "2JE4291016473214C"
    #: A certificate is chosen by its URL, which nothing signs: another one of PayPal would do.
    unsigned_headers = ("PAYPAL-CERT-URL",)
    most_random = examples(100, sample=5)

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        paypal = PayPal(secret=secret, certificate_urls=[f"{MEMORY}/"])
        paypal._certificates = serving_from_memory({f"{MEMORY}/a": certificate("paypal")})
        return paypal

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign for the webhook with an id."""
        return SignedRequest(body=body, headers=headers(Server(url=f"{MEMORY}/"), webhook=secret, body=body))


def headers(
    server: Server, *, webhook: str = ID, key: str = "paypal", body: bytes = BODY, **changed: str
) -> dict[str, str]:
    """Return the headers of a delivery by PayPal's documented rule."""
    message = f"t-1|2025-06-15T15:06:40Z|{webhook}|{zlib.crc32(body)}".encode()
    signed = {
        "PAYPAL-TRANSMISSION-ID": "t-1",
        "PAYPAL-TRANSMISSION-TIME": "2025-06-15T15:06:40Z",
        "PAYPAL-TRANSMISSION-SIG": base64.b64encode(rsa_signature(key, message, hashes.SHA256())).decode(),
        "PAYPAL-CERT-URL": f"{server.url}a",
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
    }
    return signed | {name.replace("_", "-"): value for name, value in changed.items()}


def rejection(paypal: PayPal, given: dict[str, str], body: bytes = BODY) -> str:
    """Return why a delivery is rejected."""
    with pytest.raises(VerificationError) as caught:
        paypal.verify(given, body)
    return caught.value.reason


def test_delivery_is_an_event(server: Server, paypal: PayPal) -> None:
    """A delivery of PayPal is an event, and the certificate is fetched once."""
    server.requests.clear()
    for _ in range(2):
        event = paypal.verify(headers(server), BODY)
    assert (event.id, event.type, event.data) == ("WH-1", "PAYMENT.CAPTURE.COMPLETED", {"id": "c-1"})
    assert server.requests == ["/a"]
    assert paypal.event(event.headers, BODY, received_at=event.received_at, secret_label="secret 1") == event


def test_forgeries_are_rejected(server: Server, paypal: PayPal) -> None:
    """Another webhook's delivery, another key, body, id or time, and a missing header are rejected."""
    assert rejection(paypal, headers(server, webhook="2JE4291016473214C")) == "no-match"
    assert rejection(paypal, headers(server, key="forger")) == "no-match"
    assert rejection(paypal, headers(server), BODY + b" ") == "no-match"
    assert rejection(paypal, headers(server, PAYPAL_TRANSMISSION_ID="t-2")) == "no-match"
    assert rejection(paypal, headers(server, PAYPAL_TRANSMISSION_TIME="2025-06-15T15:06:41Z")) == "no-match"
    assert rejection(paypal, headers(server, PAYPAL_AUTH_ALGO="none")) == "malformed"
    for name in headers(server):
        assert rejection(paypal, {key: value for key, value in headers(server).items() if key != name}) == (
            "missing-header"
        )


@pytest.mark.parametrize(
    "url",
    [
        GENUINE.replace("https", "http"),
        GENUINE.replace("api.paypal.com", "api.paypal.com.attacker.example"),
        GENUINE.replace("api.paypal.com", "api.paypal.com@attacker.example"),
        GENUINE + "?x=1",
        "https://api.paypal.com/v1/other/CERT-360caa42-fca2a594",
        "https://[",
    ],
)
def test_certificate_of_another_place_is_not_fetched(server: Server, paypal: PayPal, url: str) -> None:
    """A certificate that is not at the place where PayPal publishes them is not fetched."""
    assert rejection(paypal, headers(server, PAYPAL_CERT_URL=url)) in ("no-match", "malformed")


def test_id_of_the_webhook_is_rotated(server: Server) -> None:
    """Deliveries of several webhooks are accepted, and something else than an id is named."""
    several = PayPal(secret=["2JE4291016473214C", ID], certificate_urls=[server.url])
    assert several.verify(headers(server), BODY).secret_label == "secret 2"
    with pytest.raises(MissingSecretError, match="is not the id of a webhook"):
        PayPal(secret="client secret", certificate_urls=[server.url]).verify(headers(server), BODY)
