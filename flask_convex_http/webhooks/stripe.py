"""Stripe's webhooks: the `Stripe-Signature` header.

Stripe's own library is not used: its check of a forgery builds two exceptions that hold the body, and its import takes
a quarter of a second. A test compares its verdicts with these.
Rules: https://docs.stripe.com/webhooks#verify-manually

Stricter than the library:

* A timestamp may not be far in the future. The library accepts any time in the future.
* A header has exactly one `t=`, and it has only digits. The library takes the first, and all that `int()` accepts.
"""

from __future__ import annotations

import functools
import hmac
from datetime import timedelta
from typing import Any

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at, parse_object, parse_timestamp, require_utf8, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_HEADER = "Stripe-Signature"


class Stripe(Provider):
    """Webhooks of Stripe, both snapshot and thin events.

    Args:
        secret: The endpoint's signing secret (`whsec_...`), `from_env(...)`, or a list of these. With a list several
            Stripe endpoints can send to one URL. The event's `secret_label` tells which endpoint sent it.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "stripe"
    secret_form = SecretForm.of(r"whsec_.+", "the signing secret of an endpoint, which begins with whsec_")
    object_field = "data.object"
    required_headers = ((_HEADER,),)
    profile = Profile(
        signed=("body", _HEADER),  # the t= in it
        id_from="body.id",
        id_is_signed=True,
        # Stripe does not publish its timeout, only that it is short.
        timeout=timedelta(seconds=10),
        # Stripe publishes three days with exponential backoff, but not the waits.
        retries=tuple(timedelta(hours=hours) for hours in (1, 2, 5, 10, 18, 36)),
        # `stripe events resend` works as long as Stripe keeps the event.
        redelivery=timedelta(days=30),
        source="https://docs.stripe.com/webhooks/process-undelivered-events",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)

    def timestamp(self, delivery: Delivery) -> int:
        """Return the seconds in the header's one `t=`."""
        timestamps = [value for name, _, value in _items(delivery) if name == "t"]
        if len(timestamps) != 1:
            raise VerificationError("malformed", f"{_HEADER} header must have exactly one timestamp")
        return parse_timestamp(timestamps[0])

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether one of the header's `v1=` is the signature of the time and the body."""
        require_utf8(delivery.body)
        items = [(name, separator, value) for name, separator, value in _items(delivery) if name == "v1"]
        if not all(separator for _, separator, _ in items):
            return False  # Stripe's library rejects the whole header
        expected = _signature(key, self.timestamp(delivery), delivery.body)
        # As in Stripe's library, one that is not ASCII raises TypeError, unless one before it matches.
        return any(hmac.compare_digest(expected, value.partition("=")[0]) for _, _, value in items)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as Stripe does. The id and the type are in the body."""
        seconds = int(now // 1000)
        return {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            _HEADER: f"t={seconds},v1={_signature(self.key(secret), seconds, body)}",
        }

    def read(self, delivery: Delivery) -> Content:
        """Read an event. A thin event (`v2.core.event`) without data has an empty dict as its data."""
        payload = parse_object(delivery.body)
        data = payload.get("data")
        return Content(
            id=text_field(payload, "id"),
            type=text_field(payload, "type"),
            data={} if data is None else data,
            payload=payload,
        )

    def object_of(self, event: WebhookEvent) -> Any:
        """Return the object in the data of a snapshot event, or the related object of a thin event."""
        if isinstance(event.data, dict) and "object" in event.data:
            return event.data["object"]
        return field_at(event.payload, "related_object")


def _items(delivery: Delivery) -> tuple[tuple[str, str, str], ...]:
    return _items_of(delivery.header(_HEADER))


@functools.lru_cache(maxsize=16)  # each delivery asks several times
def _items_of(header: str) -> tuple[tuple[str, str, str], ...]:
    return tuple([item.partition("=") for item in header.split(",")])


def _signature(key: bytes, seconds: int, body: bytes) -> str:
    return hmac.digest(key, b"%d.%b" % (seconds, body), "sha256").hex()
