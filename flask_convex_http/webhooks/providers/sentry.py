"""Sentry's webhooks, of integrations on its platform: an HMAC of the body with the client secret.

Sentry signs neither the resource, the time nor the request's id, and a retry has another `Request-ID`. So the id of an
event is the digest of its body, and an old delivery that is sent again is a duplicate.
Rules: https://docs.sentry.io/organization/integrations/integration-platform/webhooks/
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.providers.hmac_sender import HmacSender
from flask_convex_http.webhooks.secrets import Secrets

_RESOURCE = "Sentry-Hook-Resource"


class Sentry(HmacSender):
    """Webhooks of Sentry. The type of an event is its resource and action, `issue.created`, and the data its `data`.

    Args:
        secret: The client secret of the integration, `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "sentry"
    issues_secrets = True
    object_field = "data"
    profile = Profile(
        signed=("body",),
        id_from="body",
        id_is_signed=True,
        timeout=timedelta(seconds=1),
        # Sentry does not publish retries. Its source has three after a timeout or an error of the connection or server.
        retries=(timedelta(minutes=5),) * 3,
        headers=("Request-ID", "Sentry-Hook-Timestamp", _RESOURCE),
        source="https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
    )

    def __init__(self, *, secret: Secrets) -> None:
        super().__init__(secret=secret, header="Sentry-Hook-Signature", type_field="action")

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read an event, whose data is its `data`."""
        content = super().read_element(element, delivery)
        return replace(content, type=f"{delivery.token(_RESOURCE)}.{content.type}")

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return the digest of the body alone, because the resource is not signed."""
        return f"sha256:{hashlib.sha256(event.body).hexdigest()}"

    def named_headers(self, event_id: str, event_type: str) -> dict[str, str]:
        """Return the headers of a test delivery that Sentry does not sign."""
        resource = event_type.partition(".")[0]
        return {**super().named_headers(event_id, event_type), "Request-ID": event_id, _RESOURCE: resource}
