"""Discord's requests to an app: interactions and webhook events, both signed with Ed25519.

Discord sends requests with a wrong signature when a URL is saved, and demands 401 for them.
Rules: https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint

Stricter than Discord's examples: the signed time is checked.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery, Handshake, HandshakeReply, WebhookEvent
from flask_convex_http.webhooks.parsing import field_at, parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.public_key_signatures import Ed25519Signature
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_SIGNATURE = "X-Signature-Ed25519"
_TIMESTAMP = "X-Signature-Timestamp"
_PING = 1
_EVENTS_PING = 0
_KINDS = {
    2: "application_command",
    3: "message_component",
    4: "application_command_autocomplete",
    5: "modal_submit",
}


class Discord(Ed25519Signature):
    """Interactions and webhook events of Discord.

    | Request | `type` | `data` | `id` |
    | --- | --- | --- | --- |
    | a command | `application_command.NAME` | the interaction's `data` | the interaction's `id` |
    | another interaction | `message_component`, `modal_submit` | the interaction's `data` | the interaction's `id` |
    | a webhook event | the event's type, `ENTITLEMENT_CREATE` | the event's `data` | a digest of the body |

    The checks of a URL (PING) are handled. Each interaction runs the handler, because Discord shows the response to
    someone and does not send it again.

    Args:
        secret: The app's public key in hex, `from_env(...)`, or a list of these.
        tolerance: How far the signed time may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The key or a tolerance is invalid.
    """

    name = "discord"
    object_field = "data"
    profile = Profile(
        signed=("body", _TIMESTAMP),
        id_from="body.id",
        id_is_signed=True,
        timeout=timedelta(seconds=3),
        # Discord publishes retries of a webhook event for up to ten minutes, but not the waits.
        retries=tuple(timedelta(minutes=minutes) for minutes in (1, 2, 7)),
        rejected_status=401,
        shows_answers=True,
        source="https://docs.discord.com/developers/events/webhook-events",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(
            secret=secret,
            header=_SIGNATURE,
            timestamp_header=_TIMESTAMP,
            signed="{timestamp}{body}",
            tolerance=tolerance,
            future_tolerance=future_tolerance,
        )

    def read(self, delivery: Delivery) -> Content:
        """Read an interaction, a webhook event or a PING."""
        payload = parse_object(delivery.body)
        event = payload.get("event")
        if isinstance(event, dict):
            data = event.get("data", event)
            return Content(id=_digest(delivery), type=text_field(event, "type"), data=data, payload=payload)
        event_id = text_field(payload, "id") if "id" in payload else _digest(delivery)
        data = payload.get("data", payload)
        return Content(id=event_id, type=_type(payload), data=data, payload=payload)

    def handshake(self, event: WebhookEvent) -> HandshakeReply:
        """Return the response to a PING: an object for interactions, 204 for webhook events."""
        if event.type != "ping":
            return None
        return {"type": _PING} if event.payload["type"] == _PING else Handshake(status=204)

    def needs_fresh_response(self, event: WebhookEvent) -> bool:
        """Return whether the request is an interaction, whose response someone sees."""
        return "event" not in event.payload


def _digest(delivery: Delivery) -> str:
    return hashlib.sha256(delivery.body).hexdigest()


def _type(payload: dict[str, Any]) -> str:
    number = payload.get("type")
    if number in (_PING, _EVENTS_PING) and not isinstance(number, bool):
        return "ping"
    kind = _KINDS.get(number, "interaction") if isinstance(number, int) else "interaction"
    name = field_at(payload, "data.name")
    return f"{kind}.{name}" if kind.startswith("application_command") and isinstance(name, str) else kind
