"""Base classes of the senders that sign with an HMAC and put the object of an event into a field."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.parsing import field_at
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.signed_message import SigningOptions
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE


class SignatureOptions(SigningOptions, total=False):
    """The options of `HmacSignature` that say how a sender signs."""

    header: str


class HmacSender(HmacSignature):
    """A sender that signs with an HMAC. The data of an event is its `object_field`, or the payload if it has none."""

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is its `object_field`."""
        content = super().read_element(element, delivery)
        found = field_at(element, self.object_field)
        return content if found is None else replace(content, data=found)


class TimedHmacSender(HmacSender):
    """A sender that signs a time with the body, and has no other options than its secret and the tolerances.

    Args:
        secret: The secret, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    #: How the sender signs.
    signature: ClassVar[SignatureOptions]

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance, **self.signature)
