"""Webhooks of Meta: WhatsApp, Messenger, Instagram and the Graph API, all signed in the same way.

`X-Hub-Signature-256` is an HMAC of the body with the app's secret. Meta sends no id and no signed time: the id of an
event is the digest of its body. Meta verifies a new URL with a GET request that has the token that you chose.
Rules: https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery, HandshakeReply
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets, checked_secrets, current_values


class Meta(HmacSender):
    """Webhooks of WhatsApp, Messenger, Instagram and Meta's Graph API.

    The type of an event is its object and field, such as `whatsapp_business_account.messages` or `page.messaging`. One
    with several fields has the object alone. The data is the list of its entries.

    Args:
        secret: The app's secret, `from_env(...)`, or a list of these.
        verify_token: The token that you chose in the app's dashboard, or `from_env(...)`. Without one, a new URL is not
            verified.

    Raises:
        RegistrationError: The secret or the token is invalid.
    """

    name = "meta"
    issues_secrets = True
    object_field = "entry"
    handshake_methods = ("GET",)
    profile = Profile(
        signed=("body",),
        id_from="body",
        id_is_signed=True,
        # Meta publishes no timeout. An older page of Messenger says 20 seconds.
        timeout=timedelta(seconds=5),
        # WhatsApp retries for seven days, the other products for 36 hours. Meta does not publish the waits.
        redelivery=timedelta(days=7),
        max_body_bytes=3 * 1024 * 1024,
        source="https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/create-webhook-endpoint/",
    )

    def __init__(self, *, secret: Secrets, verify_token: Secrets | None = None) -> None:
        super().__init__(secret=secret, header="X-Hub-Signature-256", prefix="sha256=", type_field="object")
        self._verify_tokens = () if verify_token is None else checked_secrets(verify_token)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose type has the field of its entries."""
        content = super().read_element(element, delivery)
        kinds = set(_kinds(content.data))
        return replace(content, type=f"{content.type}.{kinds.pop()}") if len(kinds) == 1 else content

    def unsigned_handshake(self, delivery: Delivery) -> HandshakeReply:
        """Return the challenge of a request that has the token."""
        query = delivery.query
        given = query.get("hub.verify_token", "").encode("utf-8", "surrogatepass")
        tokens = [value.strip().encode() for value in current_values(self._verify_tokens) if value.strip()]
        is_known = sum(hmac.compare_digest(token, given) for token in tokens) > 0
        return query.get("hub.challenge", "") if is_known and query.get("hub.mode") == "subscribe" else None


def _objects(values: Any) -> list[dict[str, Any]]:
    """Return the JSON objects in a list, and none of anything else."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _kinds(entries: Any) -> Iterator[str]:
    """Yield the fields of the changes in entries, and `messaging` for an entry of Messenger."""
    for entry in _objects(entries):
        fields = (change.get("field") for change in _objects(entry.get("changes")))
        yield from (field for field in fields if isinstance(field, str))
        if "messaging" in entry:
            yield "messaging"
