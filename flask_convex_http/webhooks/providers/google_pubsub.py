"""Google Cloud Pub/Sub push: a token of Google's in `Authorization`, and a message in an envelope.

The token says which service account pushes to which audience. It does not cover the body.
Rules: https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Any

from flask_convex_http.errors import RegistrationError, VerificationError
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.jwt_signature import JwtSignature
from flask_convex_http.webhooks.parsing import field_at, parse_json, parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile

_ISSUER = "https://accounts.google.com"
_KEYS = "https://www.googleapis.com/oauth2/v3/certs"


class GooglePubSub(JwtSignature):
    """Messages of a Pub/Sub push subscription with authentication switched on, and payload unwrapping off.

    The id of an event is the `messageId`, its type the message's attribute `type_attribute`, and its data the decoded
    data of the message: the JSON in it, its text, or its bytes.

    Args:
        audience: The audience of the subscription. By default Google uses the URL of the push endpoint.
        service_account: The e-mail address of the service account with which the subscription authenticates.
        type_attribute: The attribute of a message with the type of the event, such as `eventType` of Cloud Storage.
            A message without it has the type "".
        jwks: The URL of Google's keys.
        tolerance: How long a token is accepted after it has expired, for clocks that differ.

    Raises:
        RegistrationError: An argument is invalid.
    """

    name = "google_pubsub"
    profile = Profile(
        signed=("Authorization",),
        id_from="body.message.messageId",
        id_is_signed=False,
        # The acknowledgement deadline of a subscription: 10 seconds, unless it is configured up to 10 minutes.
        timeout=timedelta(seconds=10),
        # Until the message's retention ends: 7 days, unless the subscription has another.
        redelivery=timedelta(days=31),
        stop_status=204,
        max_body_bytes=14 * 1024 * 1024,
        source="https://docs.cloud.google.com/pubsub/docs/push",
    )

    def __init__(
        self,
        *,
        audience: str,
        service_account: str,
        type_attribute: str = "eventType",
        jwks: str = _KEYS,
        tolerance: timedelta = timedelta(minutes=1),
    ) -> None:
        if not isinstance(service_account, str) or "@" not in service_account:
            raise RegistrationError(
                f"service_account={service_account!r} must be the e-mail address of the subscription's service account"
            )
        super().__init__(
            jwks=jwks,
            audience=audience,
            issuer=_ISSUER,
            claims={"email": service_account, "email_verified": True},
            tolerance=tolerance,
        )
        self._type_attribute = type_attribute

    def read(self, delivery: Delivery) -> Content:
        """Read the message in the envelope."""
        payload = parse_object(delivery.body)
        event_type = field_at(payload, "message.attributes") or {}
        if not isinstance(event_type, dict):
            raise VerificationError("malformed", "Webhook message has attributes that are no object")
        found = event_type.get(self._type_attribute, "")
        return Content(
            id=text_field(payload, "message.messageId"),
            type=found if isinstance(found, str) else "",
            data=_data(field_at(payload, "message.data")),
            payload=payload,
        )


def _data(encoded: Any) -> Any:
    """Return the data of a message: the JSON in it, else its text, else its bytes."""
    if encoded is None or encoded == "":
        return None
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise VerificationError("malformed", "Webhook message has data that is not base64") from error
    try:
        return parse_json(raw)
    except VerificationError:
        return _text(raw)


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
