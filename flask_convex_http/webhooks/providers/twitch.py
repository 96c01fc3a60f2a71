"""Twitch EventSub over webhooks: an HMAC over the id, the time and the body.

Rules: https://dev.twitch.tv/docs/eventsub/handling-webhook-events/

The type of a message is in a header that is not signed, so the body decides: it has a challenge, an event, or neither
when a subscription was revoked.
"""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_ID = "Twitch-Eventsub-Message-Id"
_TIME = "Twitch-Eventsub-Message-Timestamp"
_SIGNATURE = "Twitch-Eventsub-Message-Signature"
_TYPE = "Twitch-Eventsub-Message-Type"
#: One spelling of a time only: nothing separates the id, the time and the body in what is signed.
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")
_SHORTEST, _LONGEST = 10, 100


class Twitch(Provider):
    """Webhooks of Twitch EventSub.

    The challenge with which Twitch verifies a new subscription is returned without a handler. A subscription that
    Twitch revoked is an event of the type `revocation`, whose data is the subscription.

    Args:
        secret: The secret that the subscription was created with (10 to 100 ASCII characters), `from_env(...)`, or a
            list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future. Twitch's advice is ten
            minutes.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "twitch"
    issues_secrets = False
    required_headers = ((_SIGNATURE,), (_ID,), (_TIME,))
    profile = Profile(
        signed=("body", _ID, _TIME),
        id_from=_ID,
        id_is_signed=True,
        # Twitch says "a few seconds", and does not publish its retries.
        timeout=timedelta(seconds=10),
        redelivery=timedelta(days=1),
        rejected_status=403,
        headers=(_TYPE, "Twitch-Eventsub-Message-Retry", "Twitch-Eventsub-Subscription-Type"),
        source="https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = timedelta(minutes=10),
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)

    def key(self, secret: str) -> bytes:
        """Return the bytes of the secret.

        Raises:
            ValueError: Twitch does not accept such a secret.
        """
        if not (_SHORTEST <= len(secret) <= _LONGEST and secret.isascii()):
            raise ValueError("not a secret of Twitch")
        return secret.encode()

    def mistake(self, secret: str) -> str:
        """Return what is wrong with a secret."""
        if not (_SHORTEST <= len(secret) <= _LONGEST and secret.isascii()):
            return f"must have {_SHORTEST} to {_LONGEST} ASCII characters"
        return super().mistake(secret)

    def timestamp(self, delivery: Delivery) -> float:
        """Return the seconds in the timestamp header."""
        return _seconds(delivery.header(_TIME))

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the id, the timestamp and the body."""
        received = decode_signature(delivery.header(_SIGNATURE), "sha256=", "hex")
        return hmac.compare_digest(
            _signature(key, delivery.token(_ID), delivery.header(_TIME), delivery.body), received
        )

    def read(self, delivery: Delivery) -> Content:
        """Read a notification, a challenge or a revocation."""
        payload = parse_object(delivery.body)
        subscription = payload.get("subscription")
        if not isinstance(subscription, dict):
            raise VerificationError("malformed", "Webhook body has no subscription")
        event_type, data = _content(payload, subscription)
        return Content(id=delivery.token(_ID), type=event_type, data=data, payload=payload)

    def handshake(self, event: WebhookEvent) -> str | None:
        """Return the challenge with which Twitch verifies a new subscription."""
        return text_field(event.payload, "challenge") if "challenge" in event.payload else None

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as Twitch does. The type is in the body."""
        moment = datetime.fromtimestamp(now / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        return {
            "Content-Type": "application/json",
            _ID: event_id,
            _TIME: moment,
            _TYPE: "revocation" if event_type == "revocation" else "notification",
            _SIGNATURE: f"sha256={_signature(self.key(secret), event_id, moment, body).hex()}",
        }


def _signature(key: bytes, message_id: str, moment: str, body: bytes) -> bytes:
    return hmac.digest(key, message_id.encode() + moment.encode() + body, "sha256")


def _seconds(text: str) -> float:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise VerificationError("malformed", f"{_TIME} header is not a time of RFC 3339")
    whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return whole + float(f"0.{found[2] or 0}")


def _content(payload: dict[str, Any], subscription: dict[str, Any]) -> tuple[str, Any]:
    """Return the type and the data of a message. Twitch batches the events of a few types as `events`."""
    if "challenge" in payload:
        return "webhook_callback_verification", payload
    for name in ("event", "events"):
        if name in payload:
            return text_field(subscription, "type"), payload[name]
    return "revocation", subscription
