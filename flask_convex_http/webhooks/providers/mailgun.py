"""Mailgun's webhooks: an HMAC over a time and a token, which are in the body.

The signature does not cover the event. Whoever has seen a delivery can send another event with its signature, until
the tolerance is over. Each token is used once by Mailgun, and HTTPS protects it on its way.
Rules: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks

A retry may come hours later. Whether it is signed anew is not published, so the time is compared with now by the length
of Mailgun's retries.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta
from typing import Any

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery, SignedRequest, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at, parse_object, parse_timestamp, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_RETRIES = tuple(timedelta(minutes=minutes) for minutes in (5, 10, 15, 60, 120, 240))
_TOKEN = re.compile(r"[!-~]{1,100}")


class Mailgun(Provider):
    """Webhooks of Mailgun with a JSON body. Forwarded messages (routes), which are forms, are not accepted.

    Args:
        secret: The webhook signing key of the account, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future. Mailgun retries for
            eight hours.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "mailgun"
    profile = Profile(
        signed=(),
        id_from="body.event-data.id",
        id_is_signed=False,
        # Mailgun does not publish its timeout.
        timeout=timedelta(seconds=15),
        retries=_RETRIES,
        # Mailgun does not retry after 406, so that a delivery with a wrong signature is not sent again and again.
        rejected_status=406,
        source="https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = timedelta(hours=9),
        future_tolerance: timedelta | None = timedelta(minutes=5),
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)

    def timestamp(self, delivery: Delivery) -> int:
        """Return the signed seconds in the body."""
        return parse_timestamp(_signature_of(delivery.body)[0])

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature in the body with the HMAC of the time and the token."""
        timestamp, token, signature = _signature_of(delivery.body)
        return hmac.compare_digest(_hmac(key, timestamp, token), decode_signature(signature, "", "hex"))

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the `event-data`."""
        payload = parse_object(delivery.body)
        data = payload.get("event-data")
        if not isinstance(data, dict):
            raise VerificationError("malformed", "Webhook body has no event-data")
        return Content(id=text_field(data, "id"), type=text_field(data, "event"), data=data, payload=payload)

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return the digest of the token, which is signed and used once."""
        return f"sha256:{digest('', _signature_of(event.body)[1].encode())}"

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers. The signature is in the body; see `sign_request`."""
        return {"Content-Type": "application/json", "User-Agent": "mailgun/treq"}

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Return a request whose body has a new token and its signature."""
        timestamp, token = str(int(now // 1000)), secrets.token_hex(25)
        signature = {
            "token": token,
            "timestamp": timestamp,
            "signature": _hmac(self.key(secret), timestamp, token).hex(),
        }
        body = msgspec.json.encode({**parse_object(request.body), "signature": signature})
        headers = self.sign(body, secret=secret, event_id=event_id, event_type=event_type, now=now)
        return SignedRequest(body=body, headers=headers, method=request.method, url=request.url)


def _hmac(key: bytes, timestamp: str, token: str) -> bytes:
    return hmac.digest(key, timestamp.encode() + token.encode(), "sha256")


def _signature_of(body: bytes) -> tuple[str, str, str]:
    """Return the time, the token and the signature in a body."""
    payload: Any = parse_object(body)
    timestamp = field_at(payload, "signature.timestamp")
    if isinstance(timestamp, int) and not isinstance(timestamp, bool):  # the page of the rules has it as a number
        timestamp = str(timestamp)
    # Nothing separates the two in what is signed. A time has ten digits, so that the token cannot begin in it.
    if not isinstance(timestamp, str) or len(timestamp) != 10:
        raise VerificationError("malformed", "Webhook body has no signature.timestamp of ten digits")
    token = text_field(payload, "signature.token")
    if not _TOKEN.fullmatch(token):
        raise VerificationError("malformed", "Webhook body has a malformed signature.token")
    return timestamp, token, text_field(payload, "signature.signature")
