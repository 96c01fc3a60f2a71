"""Linear's webhooks: `Linear-Signature`, an HMAC of the body, which holds the time at which it was sent.

The time is checked after the signature, because a forgery must not have its body parsed. The id, `Linear-Delivery`, is
not signed.
Rules: https://linear.app/developers/webhooks

More lenient than the rule: the time may be five minutes from now, not one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE, Tolerance

_TIME = "webhookTimestamp"


class Linear(HmacSender):
    """Webhooks of Linear. The type of an event is `Issue.create`, and the data its `data`.

    Args:
        secret: The signing secret of the webhook (`lin_wh_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed time may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "linear"
    secret_form = SecretForm.of(
        r"(?!lin_(api|oauth)_).+", "the signing secret of the webhook (lin_wh_...), but an API key"
    )
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body",),
        id_from="Linear-Delivery",
        id_is_signed=False,
        timeout=timedelta(seconds=5),
        retries=(timedelta(minutes=1), timedelta(hours=1), timedelta(hours=6)),
        headers=("Linear-Delivery", "Linear-Event", "Linear-Timestamp"),
        source="https://linear.app/developers/webhooks",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(
            secret=secret, header="Linear-Signature", unsigned_id_header="Linear-Delivery", type_field="type"
        )
        self._tolerance = Tolerance.of(tolerance, future_tolerance)

    @property
    def signs_time(self) -> bool:
        """Whether deliveries have a signed time."""
        return True

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature, and check the time in a body whose signature matches."""
        if not super().matches(delivery, key):
            return False
        self._tolerance.check(_time(parse_object(delivery.body)) / 1000, delivery.now)
        return True

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose type has the action."""
        content = super().read_element(element, delivery)
        return replace(content, type=f"{content.type}.{text_field(element, 'action')}")

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return a digest of the content without the time, which is new in each attempt."""
        lasting = {name: value for name, value in event.payload.items() if name != _TIME}
        return f"sha256:{digest(event.type, msgspec.json.encode(lasting, order='deterministic'))}"

    def named_headers(self, event_id: str, event_type: str) -> dict[str, str]:
        """Return the headers of a test delivery that are not signed."""
        return {**super().named_headers(event_id, event_type), "Linear-Event": event_type.partition(".")[0]}


def _time(payload: dict[str, Any]) -> int:
    value = payload.get(_TIME)
    if not isinstance(value, int) or isinstance(value, bool):
        raise VerificationError("malformed", f"Webhook body has no {_TIME} in milliseconds")
    return value
