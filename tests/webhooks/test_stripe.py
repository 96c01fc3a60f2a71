"""Stripe: snapshot and thin events, and a header with one time and several signatures."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest
import stripe

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Stripe, WebhookEvent, from_env

SECRET = "whsec_test"
NOW = 1_750_000_000


def deliver(body: bytes, header: str | None = None) -> WebhookEvent:
    """Sign a body with Stripe's library and verify it."""
    signed = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, NOW)
    return Stripe(secret=SECRET).verify({"Stripe-Signature": header or signed}, body, now=NOW * 1000)


def deliver_payload(payload: Any) -> WebhookEvent:
    """Sign and verify a delivery with this payload."""
    return deliver(json.dumps(payload).encode())


def test_fixed_vector_verifies() -> None:
    """A signature that openssl once computed still verifies."""
    vector = "t=1750000000,v1=3098571e488d13b4f898ab0054694778fbb8b3ccb64c525d239de520ab51662c"
    assert deliver(b'{"id":"evt_1","type":"charge.succeeded","data":{}}', vector).id == "evt_1"


def test_snapshot_event_has_its_object() -> None:
    """The data of a snapshot event holds the object that changed."""
    event = deliver_payload({"id": "evt_1", "type": "charge.succeeded", "data": {"object": {"id": "ch_1"}}})
    assert event.data["object"]["id"] == "ch_1"


@pytest.mark.parametrize("rest", [{}, {"data": None}])
def test_thin_event_has_empty_data(rest: dict[str, Any]) -> None:
    """A thin event without data has empty data, and everything in its payload."""
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        **rest,
    }
    event = deliver_payload(thin)
    assert (event.id, event.data, event.payload) == ("evt_2", {}, thin)


THIN = {
    "id": "evt_test_65UwPs1",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "livemode": False,
    "created": "2025-06-15T15:06:40.000Z",
    "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
}


def test_thin_event_is_what_stripes_library_reads() -> None:
    """A thin event has the id, type and related object that Stripe's own parser finds."""
    body = json.dumps(THIN).encode()
    provider = Stripe(secret=SECRET)
    now = time.time() * 1000
    headers = provider.sign(body, secret=SECRET, event_id="", event_type="", now=now)
    client = stripe.StripeClient("sk_test_1")
    theirs = client.parse_event_notification(body, headers["Stripe-Signature"], SECRET)
    ours = provider.verify(headers, body, now=now)
    assert (ours.id, ours.type) == (theirs.id, theirs.type)
    assert ours.payload["related_object"]["id"] == "mtr_1"
    with pytest.raises(stripe.SignatureVerificationError):
        client.parse_event_notification(body + b" ", headers["Stripe-Signature"], SECRET)


def test_secret_label_tells_endpoints_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """If two endpoints send to one URL, the event has the label of the secret that matched."""
    monkeypatch.setenv("STRIPE_TEST_ACCOUNT_SECRET", "whsec_account")
    monkeypatch.setenv("STRIPE_TEST_CONNECT_SECRET", "whsec_connect")
    provider = Stripe(secret=[from_env("STRIPE_TEST_ACCOUNT_SECRET"), from_env("STRIPE_TEST_CONNECT_SECRET")])
    body = b'{"id":"evt_1","type":"x","account":"acct_1"}'
    labels = []
    for secret in ("whsec_account", "whsec_connect"):
        headers = provider.sign(body, secret=secret, event_id="", event_type="", now=NOW * 1000)
        labels.append(provider.verify(headers, body, now=NOW * 1000).secret_label)
    assert labels == ["STRIPE_TEST_ACCOUNT_SECRET", "STRIPE_TEST_CONNECT_SECRET"]


@pytest.mark.parametrize(
    "payload",
    [{"type": "x"}, {"id": "evt_1"}, {"id": 1, "type": "x"}, {"id": "evt_1", "type": None}, {"id": ""}],
)
def test_event_without_id_or_type_is_malformed(payload: Any) -> None:
    """A signed body whose id or type is missing or not a text is malformed."""
    with pytest.raises(VerificationError, match="has no text field") as caught:
        deliver_payload(payload)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "^Webhook body is not valid JSON$"),
        (b"[" * 100_000, "^Webhook body has more than 64 levels of lists and objects$"),
        (b"[]", "^Webhook body is not a JSON object$"),
    ],
)
def test_malformed_body_is_explained(body: bytes, message: str) -> None:
    """A signed body that is not a JSON object is rejected with a sentence for people."""
    with pytest.raises(VerificationError, match=message):
        deliver(body)


@pytest.mark.parametrize(
    "header",
    ["t", "t=", "t=1750000000", "v1=00", "t=1750000000,t=1750000000,v1=00", "t=1750000000=1,v1=00", ",", "="],
)
def test_malformed_header_is_rejected(header: str) -> None:
    """A header without exactly one time and a v1 signature is rejected."""
    with pytest.raises(VerificationError) as caught:
        deliver(b"{}", header)
    assert caught.value.reason in ("malformed", "no-match")


def test_any_of_several_signatures_may_match() -> None:
    """If the header has several signatures, one match is enough, and other schemes are ignored."""
    body = b'{"id":"evt_1","type":"x"}'
    time_and_signature = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET, NOW)
    timestamp, signature = time_and_signature.split(",")
    assert deliver(body, f"{timestamp},v0=00,v1={'0' * 64},{signature}").id == "evt_1"
    with pytest.raises(VerificationError, match="does not match"):
        deliver(body, f"{timestamp},{signature.replace('v1', 'v0')}")


def test_verification_loads_no_vendor_library() -> None:
    """Importing the providers, signing and verifying do not import a vendor's library."""
    code = (
        "import sys\n"
        "from flask_convex_http.webhooks import StandardWebhooks, Stripe, Svix\n"
        "for provider in (Stripe(secret='whsec_AAAA'), Svix(secret='whsec_AAAA'), StandardWebhooks(secret='AAAA')):\n"
        '    body = b\'{"id":"evt_1","type":"x"}\'\n'
        "    signed = provider.sign(body, secret='whsec_AAAA', event_id='1', event_type='x', now=0)\n"
        "    provider.verify(signed, body, now=0)\n"
        "print({'stripe', 'svix', 'standardwebhooks', 'cryptography'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
