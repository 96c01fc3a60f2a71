"""Adyen's standard webhooks: an HMAC over some fields of a notification, which is in the notification itself.

Rules: https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures, and `Adyen/util.py` of the `Adyen`
package

Adyen does not sign `additionalData`, `eventDate`, `reason` and `paymentMethod`. Whoever has seen a notification can
change them. Its other webhooks (Management, Balance Platform) sign the whole body in the header `HmacSignature`, which
is verified too.

Stricter than the package: all notifications of a request are verified, and not only the first. The signed parts are
separated by colons, so a colon is accepted in the merchant's reference only. It could move the border in another part.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.encodings import decode_base64
from flask_convex_http.webhooks.events import Content, Delivery, SignedRequest, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at, parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "HmacSignature"
_FIELDS = (
    *("pspReference", "originalReference", "merchantAccountCode", "merchantReference"),
    *("amount.value", "amount.currency", "eventCode", "success"),
)
_WITH_COLON = "merchantReference"


class Adyen(Provider):
    """Webhooks of Adyen: standard webhooks in JSON, and those that sign their body in a header.

    A standard webhook has one notification. Its type is the `eventCode`, its data the notification, and its id is made
    of `pspReference`, `eventCode` and `success`, by which Adyen tells duplicates.

    Args:
        secret: The HMAC key of the webhook in hexadecimal digits, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "adyen"
    profile = Profile(
        # Fields of the body, not its bytes.
        signed=(),
        id_from="body",
        id_is_signed=True,
        timeout=timedelta(seconds=10),
        # After 9, 18 and 27 seconds, then with these waits, and then every 8 hours for 30 days.
        retries=tuple(
            timedelta(minutes=minutes) for minutes in (0.15, 0.15, 0.15, 2, 5, 10, 15, 30, 60, 120, 240, 480)
        ),
        redelivery=timedelta(days=30),
        rejected_status=401,
        headers=(_HEADER, "Protocol"),
        source="https://docs.adyen.com/development-resources/webhooks/troubleshoot",
    )

    def __init__(self, *, secret: Secrets) -> None:
        # No tolerance: Adyen does not sign a time.
        super().__init__(secret=secret)

    def key(self, secret: str) -> bytes:
        """Return the bytes of the hexadecimal digits.

        Raises:
            ValueError: These are no hexadecimal digits.
        """
        return binascii.unhexlify(secret)

    def mistake(self, secret: str) -> str:
        """Return what is wrong with a key."""
        try:
            self.key(secret)
        except ValueError:
            return "is not an HMAC key of Adyen, which has 64 hexadecimal digits"
        return super().mistake(secret)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature in the header with the HMAC of the body, or that in the notification with its own."""
        signature = delivery.headers.get(_HEADER.lower())
        payload = parse_object(delivery.body)
        if "notificationItems" in payload:
            item = _item(payload)
            given = decode_base64(text_field(item, "additionalData.hmacSignature"))
            return hmac.compare_digest(hmac.digest(key, signed_message(item), "sha256"), given)
        if not signature:
            raise VerificationError("missing-header", f"Missing {_HEADER} header")
        return hmac.compare_digest(hmac.digest(key, delivery.body, "sha256"), decode_base64(signature))

    def read(self, delivery: Delivery) -> Content:
        """Read a notification, or the event of a webhook that signs its body."""
        payload = parse_object(delivery.body)
        if "notificationItems" not in payload:
            event_type = text_field(payload, "type")
            data = payload.get("data", payload)
            return Content(id=digest(event_type, delivery.body), type=event_type, data=data, payload=payload)
        item = _item(payload)
        parts = [text_field(item, name) for name in ("pspReference", "eventCode", "success")]
        return Content(id=":".join(parts), type=parts[1], data=item, payload=payload)

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return the digest of what is signed."""
        content = signed_message(event.data) if "notificationItems" in event.payload else event.body
        return f"sha256:{digest(event.type, content)}"

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers. The signature of a standard webhook is in the body; see `sign_request`."""
        headers = {"Content-Type": "application/json", "User-Agent": "Adyen HttpClient 1.0"}
        if "notificationItems" in parse_object(body):
            return headers
        signature = hmac.digest(self.key(secret), body, "sha256")
        return {**headers, _HEADER: base64.b64encode(signature).decode(), "Protocol": "HmacSHA256"}

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Return a request whose notification has its signature."""
        headers = self.sign(request.body, secret=secret, event_id=event_id, event_type=event_type, now=now)
        payload = parse_object(request.body)
        if "notificationItems" in payload:
            item = _item(payload)
            signature = base64.b64encode(hmac.digest(self.key(secret), signed_message(item), "sha256")).decode()
            item["additionalData"] = {**(item.get("additionalData") or {}), "hmacSignature": signature}
        return replace(request, headers=headers, body=msgspec.json.encode(payload) if headers else request.body)


def signed_message(item: Mapping[str, Any]) -> bytes:
    """Return the text that Adyen signs: the values of its fields, separated by colons.

    Raises:
        VerificationError: A field is no text or number, or has a colon where none may be.
    """
    values = [_text(item, name) for name in _FIELDS]
    return ":".join(values).encode()


def _text(item: Mapping[str, Any], name: str) -> str:
    value = field_at(item, name)
    if value is None:
        return ""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or (":" in text and name != _WITH_COLON):
        raise VerificationError("malformed", f"Webhook notification has a malformed {name}")
    return text


def _item(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the notification in a payload. A JSON webhook has exactly one."""
    items = payload["notificationItems"]
    if not isinstance(items, list) or len(items) != 1:
        raise VerificationError("malformed", "Webhook must have exactly one notification")
    item = field_at(items[0], "NotificationRequestItem")
    if not isinstance(item, dict):
        raise VerificationError("malformed", "Webhook has no NotificationRequestItem")
    return item
