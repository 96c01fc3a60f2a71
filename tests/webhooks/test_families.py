"""The signature families: places of signatures and times, signed URLs and forms, static secrets and public keys."""

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flask_convex_http import (
    EcdsaSignature,
    Ed25519Signature,
    HmacSignature,
    MissingSecretError,
    Provider,
    RegistrationError,
    SharedSecret,
    VerificationError,
)
from flask_convex_http.webhooks.events import SignedRequest

SECRET, BODY, NOW = "a secret of the tests", b'{"id": "evt_1", "type": "paid"}', 1_750_000_000_000
SEED = hashlib.sha256(b"a key of the tests").digest()


def mac(message: bytes, algorithm: str = "sha256") -> str:
    """Return an HMAC in hex."""
    return hmac.digest(SECRET.encode(), message, algorithm).hex()


def reason(provider: Provider, headers: dict[str, str], body: bytes = BODY, **more: Any) -> str:
    """Return the reason for which a delivery is rejected, or an empty text."""
    result = provider.verdict(headers, body, now=more.pop("now", NOW), **more)
    return result.reason if isinstance(result, VerificationError) else ""


def test_one_header_holds_time_and_signatures() -> None:
    """A header with items has one time and several signatures, under any names and with any separator."""
    provider = HmacSignature(
        secret=SECRET,
        header="X-S",
        timestamp_name="ts",
        signature_name="h1",
        separator=";",
        signed="{timestamp}:{body}",
    )
    good = mac(b"1750000000:" + BODY)
    assert reason(provider, {"X-S": f"ts=1750000000;h1={'0' * 64}; h1={good};h0=x"}) == ""
    assert reason(provider, {"X-S": f"ts=1750000001;h1={good}"}) == "no-match"
    assert reason(provider, {"X-S": f"h1={good}"}) == "malformed"
    assert reason(provider, {"X-S": f"ts=1750000000;ts=1750000000;h1={good}"}) == "malformed"
    assert reason(provider, {"X-S": "ts=1750000000"}) == "malformed"
    assert reason(provider, {"X-S": f"ts=1750000000;h1={good}"}, now=NOW + 301_000) == "too-old"
    assert reason(provider, {"X-S": "ts=1750000000" + f";h1={'0' * 64}" * 10 + f";h1={good}"}) == "no-match"


@pytest.mark.parametrize(
    ("time_format", "text", "wrong"),
    [
        ("milliseconds", "1750000000000", "1750000000000.0"),
        ("rfc3339", "2025-06-15T15:06:40.000Z", "2025-06-15 15:06:40Z"),
        ("rfc3339", "2025-06-15T17:06:40+02:00", "2025-06-15T15:06:40"),
        ("rfc3339", "2025-06-15T15:06:40.123456789Z", "2025-02-30T15:06:40Z"),
    ],
)
def test_time_may_be_written_otherwise(time_format: Any, text: str, wrong: str) -> None:
    """A signed time is in seconds, in milliseconds or in RFC 3339, and in no form beside the chosen one."""
    provider = HmacSignature(
        secret=SECRET, header="X-S", timestamp_header="X-T", time_format=time_format, signed="{timestamp}.{body}"
    )
    signed = {"X-T": text, "X-S": mac(text.encode() + b"." + BODY)}
    assert reason(provider, signed) == ""
    assert reason(provider, signed, now=NOW + 301_000) == "too-old"
    assert reason(provider, {"X-T": wrong, "X-S": mac(wrong.encode() + b"." + BODY)}) == "malformed"
    assert reason(provider, provider.sign(BODY, secret=SECRET, event_id="1", event_type="", now=NOW)) == ""


def test_signature_may_be_in_the_body() -> None:
    """A signature in the body covers the named fields; the id is not taken from what anyone can change."""
    provider = HmacSignature(
        secret=SECRET,
        signature_field="signature.signature",
        timestamp_field="signature.timestamp",
        signed="{payload.signature.timestamp}{payload.signature.token}",
        signs_body=False,
    )
    body = b'{"signature": {"timestamp": "1750000000", "token": "t", "signature": "%s"}, "event": "%s"}'
    good = mac(b"1750000000t").encode()
    assert reason(provider, {}, body % (good, b"a")) == ""
    assert reason(provider, {}, body % (b"0" * 64, b"a")) == "no-match"
    assert reason(provider, {}, body % (good, b"a"), now=NOW + 301_000) == "too-old"
    assert reason(provider, {}, b"{}") == reason(provider, {}, b"[]") == reason(provider, {}, b"") == "malformed"
    first, second = (provider.verify({}, body % (good, event), now=NOW) for event in (b"a", b"b"))
    assert first.id == second.id
    assert not provider.profile.id_is_signed


def test_signed_url_and_sorted_form() -> None:
    """The URL and a form's fields are signed as Twilio does, for its published example; the order does not matter."""
    # https://www.twilio.com/docs/usage/security#validating-requests
    provider = HmacSignature(
        secret="12345",
        header="X-Twilio-Signature",
        algorithm="sha1",
        allow_weak_algorithm=True,
        encoding="base64",
        signed="{url}{form}",
    )
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    body = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    headers = {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}
    event = provider.verify(headers, body, now=NOW, url=url)
    turned = provider.verify(headers, b"&".join(reversed(body.split(b"&"))), now=NOW, url=url)
    assert event.id == turned.id
    assert provider.fingerprint(event) == provider.fingerprint(turned)
    assert reason(provider, headers, body, url=url + "&x=1") == "no-match"
    assert reason(provider, headers, body) == "no-match"
    assert provider.verify(event.headers, event.body, now=NOW) == event
    assert event.headers[":url"] == url


def test_configured_url_replaces_that_of_a_proxy() -> None:
    """`url` is the signed URL, whatever a proxy made of it; the query string is that of the request."""
    provider = HmacSignature(secret=SECRET, header="X-S", signed="{method} {url} {body}", url="https://a.example/h")
    signed = {"X-S": mac(b"POST https://a.example/h?x=1 " + BODY)}
    assert reason(provider, signed, url="http://10.0.0.1:8000/inner?x=1") == ""
    assert reason(provider, signed, url="http://10.0.0.1:8000/inner?x=2") == "no-match"
    assert reason(provider, signed, url="http://10.0.0.1:8000/inner?x=1", method="PUT") == "no-match"


def test_elements_of_a_batch_are_events() -> None:
    """With `batch` each element of an array has its own id and type."""
    provider = HmacSignature(secret=SECRET, header="X-S", id_field="id", type_field="type", batch=True)
    body = b'[{"id": 1, "type": "a"}, {"id": 2, "type": "b"}]'
    batch = provider.verify({"X-S": mac(body)}, body, now=NOW)
    events = provider.split(batch)
    assert [(event.id, event.type, event.body) for event in events] == [
        ("1", "a", b'{"id":1,"type":"a"}'),
        ("2", "b", b'{"id":2,"type":"b"}'),
    ]
    again = provider.event(events[1].headers, events[1].body, received_at=NOW, secret_label="secret 1")
    assert again == events[1]
    single = provider.verify({"X-S": mac(BODY)}, BODY, now=NOW)
    assert provider.split(single) == (single,)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "name the place of the signature"),
        ({"header": "X-S", "signature_field": "s"}, "both given"),
        ({"header": "X-S", "timestamp_name": "t", "signed": "{timestamp}{body}"}, "name items of a header"),
        ({"header": "X-S", "signature_name": "s", "separator": ""}, "separator is empty"),
        ({"header": "X-S", "time_format": "iso"}, "time_format must be one of"),
        ({"header": "X-S", "signed": "{payload.id}"}, "signs_body=False"),
        ({"header": "X-S", "timestamp_field": "t"}, "not signed proves nothing"),
    ],
)
def test_choices_that_do_not_fit_are_rejected(choices: Any, message: str) -> None:
    """Options that would verify nothing raise RegistrationError with the remedy."""
    with pytest.raises(RegistrationError, match=message):
        HmacSignature(secret=SECRET, **choices)


@pytest.mark.parametrize(
    ("place", "headers", "url"),
    [
        ({"header": "X-Token"}, {"X-Token": SECRET}, None),
        ({"header": "Authorization", "prefix": "Bearer "}, {"Authorization": f"Bearer {SECRET}"}, None),
        ({"query": "token"}, {}, "https://a.example/h?token=a+secret+of+the+tests"),
        (
            {"basic": "us\u00e9r"},
            {"Authorization": "Basic " + base64.b64encode(f"us\u00e9r:{SECRET}".encode()).decode()},
            None,
        ),
    ],
)
def test_static_secret_is_compared(place: Any, headers: dict[str, str], url: str | None) -> None:
    """A static secret verifies in its place, is rejected when it differs, and is named as a credential."""
    provider = SharedSecret(secret=SECRET, **place, id_field="id", type_field="type")
    event = provider.verify(headers, BODY, now=NOW, url=url)
    assert (event.id, event.type) == ("evt_1", "paid")
    assert not any(SECRET in value for value in event.headers.values())
    for wrong in ("", "x", SECRET[:-1], SECRET + "x", "\udcff\u00e9"):
        forged = {name: value.replace(SECRET, wrong) + (wrong or "x") for name, value in headers.items()}
        assert reason(provider, forged, url=None if url is None else f"https://a.example/h?token={wrong!a}")
    assert reason(provider, {}) == "missing-header"
    assert provider.credential_headers
    assert not provider.profile.id_is_signed
    request = SignedRequest(body=BODY, url="https://a.example/h")
    sent = provider.sign_request(request, secret=SECRET, event_id="1", event_type="", now=NOW)
    assert reason(provider, dict(sent.headers), url=sent.url) == ""


@pytest.mark.parametrize(
    "places", [{"basic": True}, {}, {"header": "X", "query": "q"}, {"basic": ""}, {"query": "q", "prefix": "p"}]
)
def test_static_secret_has_one_place(places: Any) -> None:
    """A static secret is in a header, in the query string or in Basic auth."""
    with pytest.raises(RegistrationError):
        SharedSecret(secret=SECRET, **places)


def ed25519_keys(name: str = "a key of the tests") -> list[str]:
    """Return the spellings of a public key, and a private one last."""
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    public = key.public_key()
    formats = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, formats).decode()
    der = public.public_bytes(serialization.Encoding.DER, formats)
    raw = public.public_bytes_raw()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    spellings = [raw.hex(), base64.b64encode(raw).decode(), base64.b64encode(der).decode(), pem]
    return [*spellings, pem.replace("\n", "\\n"), private]


@pytest.mark.parametrize("place", range(6))
def test_ed25519_key_in_each_form(place: int) -> None:
    """An Ed25519 key verifies in each of its forms, over Discord's message, and a private one signs."""
    provider = Ed25519Signature(
        secret=ed25519_keys()[place], header="X-S", timestamp_header="X-T", signed="{timestamp}{body}"
    )
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(b"1750000000" + BODY).hex()
    headers = {"X-S": signature, "X-T": "1750000000"}
    assert reason(provider, headers) == ""
    assert reason(provider, headers, BODY + b" ") == "no-match"
    assert reason(provider, {**headers, "X-S": "00" * 64}) == "no-match"
    assert reason(provider, {**headers, "X-S": "00"}) == "no-match"
    assert reason(provider, {**headers, "X-S": "zz"}) == "malformed"
    assert provider.sign(BODY, secret=ed25519_keys()[-1], event_id="", event_type="", now=NOW)["X-S"] == signature
    with pytest.raises(MissingSecretError, match="only verifies"):
        provider.sign(BODY, secret=ed25519_keys()[0], event_id="", event_type="", now=NOW)


def test_ecdsa_key_in_each_form() -> None:
    """An ECDSA key verifies as PEM or DER, and one of another algorithm is named as wrong."""
    key = ec.derive_private_key(int.from_bytes(SEED) >> 1, ec.SECP256R1())
    formats = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, formats).decode()
    der = base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, formats)).decode()
    signature = base64.b64encode(key.sign(b"1750000000" + BODY, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {"X-S": signature, "X-T": "1750000000"}
    for spelling in (pem, der, f"{der[:64]}\n{der[64:]}"):
        provider = EcdsaSignature(secret=spelling, header="X-S", timestamp_header="X-T", signed="{timestamp}{body}")
        assert reason(provider, headers) == ""
        assert reason(provider, headers, BODY + b" ") == "no-match"
        assert reason(provider, {**headers, "X-S": "AAAA"}) == "no-match"
        assert reason(provider, headers, now=NOW + timedelta(hours=1).total_seconds() * 1000) == "too-old"
    for wrong in (ed25519_keys()[0], "nonsense"):
        with pytest.raises(MissingSecretError, match="is no public key"):
            EcdsaSignature(secret=wrong, header="X-S").verdict({"X-S": signature}, BODY, now=NOW)
