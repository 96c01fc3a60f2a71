"""Adyen's webhooks."""

import base64
import binascii
import hmac
import json
from typing import Any

import pytest

from flask_convex_http import Adyen, MissingSecretError, Provider, VerificationError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types

#: The test vector of Adyen's own packages.
KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
ITEM = {
    "pspReference": "7914073381342284",
    "merchantReference": "TestPayment-1407325143704",
    "merchantAccountCode": "TestMerchant",
    "amount": {"currency": "EUR", "value": 1130},
    "eventCode": "AUTHORISATION",
    "success": "true",
    "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
}
_NAMES = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")


def body_of(item: object) -> bytes:
    """Return a standard webhook with a notification."""
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).encode()


def signed(item: dict[str, Any], secret: str = KEY) -> dict[str, Any]:
    """Sign a notification by the rule of Adyen's package."""
    amount = item["amount"]
    values = (*(item.get(name, "") for name in _NAMES), amount["value"], amount["currency"])
    message = ":".join(map(str, (*values, item["eventCode"], item["success"])))
    signature = hmac.digest(binascii.unhexlify(secret), message.encode(), "sha256")
    return {**item, "additionalData": {"hmacSignature": base64.b64encode(signature).decode()}}


class TestAdyen(ProviderContract):
    """Webhooks that sign their body in a header."""

    body = b'{"type": "merchant.created", "data": {"merchantId": "YOUR_MERCHANT_ACCOUNT"}}'
    secret, other_secret = KEY, KEY[::-1]

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return Adyen(secret=secret)

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign the body."""
        signature = hmac.digest(binascii.unhexlify(secret), body, "sha256")
        return SignedRequest(body=body, headers={"HmacSignature": base64.b64encode(signature).decode()})

    def test_altered_signed_body_is_rejected(self) -> None:
        """A changed body does not match the signature in the header, and without a header nothing does."""
        request = self.request(KEY, self.body, 0)
        assert reason(self.body + b" ", dict(request.headers)) == "no-match"
        assert reason(self.body) == "missing-header"


def reason(body: bytes, headers: dict[str, str] | None = None) -> str:
    """Return why a delivery is rejected."""
    with pytest.raises(VerificationError) as caught:
        Adyen(secret=KEY).verify(headers or {}, body)
    return caught.value.reason


def test_published_vector_is_accepted() -> None:
    """The test vector of Adyen's packages verifies, and is an event of its eventCode."""
    event = Adyen(secret=[KEY[::-1], KEY]).verify({}, body_of(ITEM))
    assert (event.id, event.type) == ("7914073381342284:AUTHORISATION:true", "AUTHORISATION")
    assert (event.data["amount"]["value"], event.secret_label) == (1130, "secret 2")


@pytest.mark.parametrize("name", ["pspReference", "merchantReference", "merchantAccountCode", "eventCode", "success"])
def test_altered_field_is_rejected(name: str) -> None:
    """A change of any signed field does not match."""
    assert reason(body_of(ITEM | {name: "other"})) == "no-match"


def test_altered_amount_is_rejected() -> None:
    """A changed amount does not match, and an amount of another type is malformed."""
    assert reason(body_of(ITEM | {"amount": {"currency": "EUR", "value": 1}})) == "no-match"
    assert reason(body_of(ITEM | {"amount": {"currency": "EUR", "value": 11.3}})) == "malformed"


def test_merchant_reference_may_have_a_colon() -> None:
    """A reference with colons and slashes verifies, and a colon elsewhere is malformed."""
    assert Adyen(secret=KEY).verify({}, body_of(signed({**ITEM, "merchantReference": "\\:/a:b"}))).type
    moved = {**ITEM, "merchantAccountCode": "TestMerchant:TestPayment", "merchantReference": "1"}
    assert reason(body_of(signed(moved))) == "malformed"


def test_one_notification_is_required() -> None:
    """A request with no or several notifications is malformed: only one of them would be handled."""
    several = {"notificationItems": [{"NotificationRequestItem": ITEM}] * 2}
    bodies: list[object] = [several, {"notificationItems": []}, {"notificationItems": [1]}, {"notificationItems": {}}]
    for body in bodies:
        assert reason(json.dumps(body).encode()) == "malformed"


def test_fingerprint_is_of_the_signed_fields() -> None:
    """With `dedupe="content"` a replay with other unsigned fields is a duplicate."""
    provider = Adyen(secret=KEY)
    events = [provider.verify({}, body_of(ITEM | {"reason": text})) for text in ("a", "b")]
    assert len({provider.fingerprint(event) for event in events}) == 1


def test_malformed_key_is_named() -> None:
    """A key that is not hexadecimal is reported as such."""
    with pytest.raises(MissingSecretError, match="64 hexadecimal digits"):
        Adyen(secret="not hexadecimal").verify({}, body_of(ITEM))


def test_samples_are_events_of_the_sender() -> None:
    """Each sample event is signed, in the body or in the header, and verifies."""
    for name in event_types("adyen"):
        (sample,) = make_deliveries(Adyen(secret=KEY), name, Faults(), now=0)
        assert Adyen(secret=KEY).verify(sample.headers, sample.body).type == name
