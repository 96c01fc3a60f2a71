"""Shopify: base64 in the header, and its unsigned headers."""

import base64
import hashlib
import hmac

import pytest

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Shopify, WebhookEvent

SECRET = "hush"
BODY = b'{"id": 820982911946154508, "financial_status": "paid"}'
PROVIDER = Shopify(secret=SECRET)


def deliver(body: bytes = BODY, **changes: str) -> WebhookEvent:
    """Sign a delivery, change some headers, and verify it."""
    headers = PROVIDER.sign(body, secret=SECRET, event_id="b54557e4", event_type="orders/create", now=0)
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return PROVIDER.verify(headers, body)


def test_signature_is_as_documented() -> None:
    """The signature is the base64 of the HMAC-SHA256 of the raw body with the client secret."""
    signature = base64.b64encode(hmac.new(b"hush", BODY, hashlib.sha256).digest()).decode()
    event = PROVIDER.verify({"X-Shopify-Hmac-SHA256": signature}, BODY)
    assert event.data == {"id": 820982911946154508, "financial_status": "paid"}


def test_id_and_topic_are_the_headers() -> None:
    """The id and the type are the values of their headers."""
    event = deliver()
    assert (event.id, event.type) == ("b54557e4", "orders/create")


def test_delivery_without_an_id_is_known_by_topic_and_body() -> None:
    """If the unsigned id is missing, the id is a digest of the topic and the body."""
    ids = {deliver(X_Shopify_Webhook_Id="", X_Shopify_Topic=topic).id for topic in ("", "orders/paid", "orders/create")}
    assert len(ids) == 3


def test_one_order_under_two_topics_is_two_events() -> None:
    """The same order under two topics has two fingerprints, and under a fresh id the same one."""
    created, paid = deliver(), deliver(X_Shopify_Topic="orders/paid")
    assert PROVIDER.fingerprint(created) != PROVIDER.fingerprint(paid)
    assert PROVIDER.fingerprint(created) == PROVIDER.fingerprint(deliver(X_Shopify_Webhook_Id="fresh"))


@pytest.mark.parametrize("name", ["X_Shopify_Webhook_Id", "X_Shopify_Topic"])
@pytest.mark.parametrize("value", ["a b", "é", "a\nb"])
def test_unsigned_headers_are_identifiers(name: str, value: str) -> None:
    """The unsigned headers are accepted only as printable words."""
    with pytest.raises(VerificationError, match="header is malformed"):
        deliver(BODY, **{name: value})


@pytest.mark.parametrize("signature", ["a", "00", "sha256=AAAA", "!", "é", "AAAA AAAA"])
def test_malformed_signature_is_rejected(signature: str) -> None:
    """A signature that is not the base64 of 32 bytes is rejected."""
    with pytest.raises(VerificationError) as caught:
        deliver(X_Shopify_Hmac_Sha256=signature)
    assert caught.value.reason in ("malformed", "no-match")


def test_signature_has_one_spelling() -> None:
    """Base64 with other unused bits is rejected."""
    good = base64.b64encode(hmac.digest(b"hush", BODY, "sha256")).decode()
    other = good[:-2] + chr(ord(good[-2]) + 1) + "="
    assert base64.b64decode(other) == base64.b64decode(good)
    with pytest.raises(VerificationError, match="is not base64"):
        deliver(X_Shopify_Hmac_Sha256=other)
