"""App Store Server Notifications, signed by a chain of certificates as Apple's."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from flask_convex_http import AppStore, Provider, RegistrationError, VerificationError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.samples.events import event_types, sample_events
from tests.lengths import examples
from tests.webhooks.providers.certificates import certificate

APP, NUMBER = "com.example.shop", 1234567890
LEAF, ISSUER = "1.2.840.113635.100.6.11.1", "1.2.840.113635.100.6.2.1"


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return a key for a name, made once."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def issued(
    name: str, by: str, *, mark: str = "", is_authority: bool = False, days: int = 1, claims: str = ""
) -> x509.Certificate:
    """Return a certificate of a named key that another one signed.

    Args:
        name: The name of the subject and its key.
        by: The name of the issuer's key.
        mark: An extension that it has.
        is_authority: Whether it may issue others.
        days: Days from now until which it is valid.
        claims: The name of the issuer in it, by default that of the key.
    """
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, claims or by)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(named[0])
        .issuer_name(named[1])
        .public_key(key(name).public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=9))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if mark:
        unrecognized = x509.UnrecognizedExtension(x509.ObjectIdentifier(mark), b"\x05\x00")
        builder = builder.add_extension(unrecognized, critical=False)
    return builder.sign(key(by), hashes.SHA256())


ROOT = issued("root", "root", is_authority=True)
WWDR = issued("wwdr", "root", mark=ISSUER, is_authority=True)
SIGNER = issued("signer", "wwdr", mark=LEAF)


def jws(
    content: Any, *, chain: Any = (SIGNER, WWDR, ROOT), by: str = "signer", algorithm: str = "ES256", **header: Any
) -> str:
    """Return a signed object with its chain of certificates in the header."""
    x5c = [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in chain]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    secret = "x" * 32 if algorithm == "HS256" else key(by)
    return jwt.PyJWS().encode(body, secret, algorithm, headers={"x5c": x5c, **header})


def notification(**changes: Any) -> dict[str, Any]:
    """Return the content of a notification."""
    data = {"appAppleId": NUMBER, "bundleId": APP, "environment": "Production", "status": 1}
    parts = {"signedTransactionInfo": jws({"productId": "pro"}), "signedRenewalInfo": jws({"autoRenewStatus": 1})}
    base = {"notificationType": "SUBSCRIBED", "subtype": "INITIAL_BUY", "notificationUUID": "n-1", "version": "2.0"}
    return {**base, "signedDate": int(time.time() * 1000), "data": {**data, **parts}, **changes}


def body(content: Any = None, **options: Any) -> bytes:
    """Return a body as the App Store sends it."""
    return json.dumps({"signedPayload": jws(notification() if content is None else content, **options)}).encode()


def app_store(**options: Any) -> AppStore:
    """Return the provider, which trusts the root of these tests."""
    root = ROOT.public_bytes(Encoding.PEM)
    return AppStore(**{"bundle_id": APP, "app_apple_id": NUMBER, "root_certificates": [root], **options})


class TestAppStore(ProviderContract):
    """The contract. The secrets are the names of keys."""

    body = json.dumps(notification()).encode()
    secret, other_secret = "signer", "forger"
    most_random = examples(100, sample=5)

    def provider(self, secret: str) -> Provider:
        """Return the provider, which has no secret."""
        return app_store()

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign the body with a key."""
        return SignedRequest(body=json.dumps({"signedPayload": jws(body, by=secret)}).encode())

    def test_genuine_delivery_is_accepted(self) -> None:
        """A notification is an event with its decoded transaction and renewal."""
        event = app_store().verify({}, body())
        assert (event.id, event.type, event.provider) == ("n-1", "SUBSCRIBED.INITIAL_BUY", "app_store")
        assert event.data["transactionInfo"] == {"productId": "pro"}
        assert event.data["renewalInfo"] == {"autoRenewStatus": 1}

    def test_duplicate_has_the_same_id(self) -> None:
        """A notification that is signed again is told by its UUID."""
        assert len({app_store().verify({}, body()).id for _ in range(2)}) == 1

    def test_secret_is_not_shown(self) -> None:
        """There is no secret."""
        assert not app_store().has_secrets


def rejection(content: bytes, provider: AppStore | None = None, **options: Any) -> str:
    """Return why a notification is rejected."""
    with pytest.raises(VerificationError) as caught:
        (provider or app_store()).verify({}, content, **options)
    return caught.value.reason


def test_samples_are_notifications() -> None:
    """Each sample is the content of a notification of its type."""
    provider = app_store(environment="Sandbox", app_apple_id=None)
    for name in event_types("app_store"):
        [sample] = sample_events("app_store", [name], now=time.time() * 1000)
        event = provider.verify({}, body(json.loads(sample.body)))
        assert (event.type, event.id) == (name, sample.id)


@pytest.mark.parametrize(
    "chain",
    [
        (issued("signer", "root", mark=LEAF), ROOT, ROOT),
        (issued("signer", "wwdr"), WWDR, ROOT),
        (SIGNER, issued("wwdr", "root", is_authority=True), ROOT),
        (SIGNER, issued("wwdr", "root", mark=ISSUER), ROOT),
        (SIGNER, issued("wwdr", "forger", mark=ISSUER, is_authority=True, claims="root"), ROOT),
        (issued("signer", "forger", mark=LEAF, claims="wwdr"), WWDR, ROOT),
        (issued("signer", "wwdr", mark=LEAF, claims="other"), WWDR, ROOT),
        (issued("signer", "wwdr", mark=LEAF, days=-1), WWDR, ROOT),
        (SIGNER, issued("wwdr", "root", mark=ISSUER, is_authority=True, days=-1), ROOT),
        (SIGNER, WWDR, issued("root", "root", is_authority=True, days=2)),
    ],
)
def test_other_chain_is_rejected(chain: Any) -> None:
    """A chain without Apple's marks, with another issuer or root, or that has expired, is rejected."""
    assert rejection(body(chain=chain)) == "no-match"


def test_known_chain_vouches_for_nothing_else() -> None:
    """After a genuine notification, its chain expires, and verifies neither another signer nor another key."""
    provider = app_store()
    assert provider.verify({}, body()).id == "n-1"
    later = (time.time() + 20 * 365 * 86400) * 1000
    assert rejection(body(), provider, now=later) == "no-match"
    assert rejection(body(by="forger"), provider) == "no-match"
    assert (
        rejection(body(chain=(issued("signer", "forger", mark=LEAF, claims="wwdr"), WWDR, ROOT)), provider)
        == "no-match"
    )
    assert provider.verify({}, body()).id == "n-1"


def test_signature_is_of_the_certificate() -> None:
    """Another key, another algorithm, an altered content and a chain of another length are rejected."""
    assert rejection(body(by="forger")) == "no-match"
    assert rejection(body(algorithm="HS256")) == "malformed"
    assert rejection(body(crit=["x"])) == "malformed"
    assert rejection(body(chain=(SIGNER, WWDR))) == "malformed"
    assert rejection(body(chain=())) == "malformed"
    assert rejection(body(x5c="text")) == "malformed"
    head, _, signature = jws(notification()).split(".")
    content = jws(notification(subtype="RESUBSCRIBE")).split(".")[1]
    assert rejection(json.dumps({"signedPayload": f"{head}.{content}.{signature}"}).encode()) == "no-match"


def test_only_apples_root_is_trusted_by_default() -> None:
    """Without a further root, the chain of these tests is rejected."""
    assert rejection(body(), app_store(root_certificates=[])) == "no-match"


@pytest.mark.parametrize(
    "data",
    [
        {"bundleId": "com.example.other", "appAppleId": NUMBER, "environment": "Production"},
        {"bundleId": APP, "appAppleId": NUMBER + 1, "environment": "Production"},
        {"bundleId": APP, "appAppleId": NUMBER, "environment": "Sandbox"},
        {},
        [],
    ],
)
def test_other_app_is_rejected(data: Any) -> None:
    """A genuine notification of another app or environment is rejected."""
    assert rejection(body(notification(data=data))) == "no-match"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("summary", {"environment": "Production"}),
        ("appData", {"environment": "Production"}),
        ("externalPurchaseToken", {"externalPurchaseId": "1"}),
    ],
)
def test_notification_without_data_has_its_subject(name: str, more: dict[str, Any]) -> None:
    """A notification about renewals, an app or an external purchase has that as its data."""
    subject = {"bundleId": APP, "appAppleId": NUMBER, **more}
    content = {"notificationType": "RENEWAL_EXTENSION", "notificationUUID": "n-1", name: subject}
    event = app_store().verify({}, body(content))
    assert (event.type, event.data) == ("RENEWAL_EXTENSION", subject)
    sandbox = {**subject, "externalPurchaseId": "SANDBOX_1", "environment": "Sandbox"}
    assert rejection(body({**content, name: sandbox})) == "no-match"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"signedPayload": 1}', b'{"signedPayload": "a.b.c"}'])
def test_body_without_a_payload_is_malformed(content: bytes) -> None:
    """A body that is no notification is malformed."""
    assert rejection(content) == "malformed"


def test_signed_nonsense_is_malformed() -> None:
    """Signed content that is no notification is rejected."""
    data = notification()["data"]
    nonsense: list[Any] = [b"x", [], {}, {"data": data}, {"data": data, "notificationType": 1}]
    for content in (*nonsense, notification(data=data | {"signedTransactionInfo": "a.b"})):
        assert rejection(body(content)) in ("malformed", "no-match")


@pytest.mark.parametrize("now", [0.0, float("nan"), float("inf")])
def test_certificates_are_valid_when_it_arrives(now: float) -> None:
    """A notification is rejected as of a time at which its certificates are not valid."""
    assert rejection(body(), now=now) in ("no-match", "malformed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bundle_id": ""}, "bundle_id"),
        ({"app_apple_id": None}, "app_apple_id"),
        ({"app_apple_id": "1"}, "app_apple_id"),
        ({"environment": "Xcode"}, "environment must be one of Production, Sandbox"),
        ({"root_certificates": b"x"}, "root_certificates is a list"),
        ({"root_certificates": [b"x"]}, "root_certificates has"),
        ({"root_certificates": [certificate("x")[:90]]}, "root_certificates has"),
    ],
)
def test_wrong_argument_is_refused(options: dict[str, Any], message: str) -> None:
    """A wrong argument is named when the provider is created."""
    with pytest.raises(RegistrationError, match=message):
        app_store(**options)
