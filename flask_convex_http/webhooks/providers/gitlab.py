"""GitLab's webhooks: Standard Webhooks with a signing token, or a static secret token in `X-Gitlab-Token`.

A signing token (GitLab 19 and later) begins with `whsec_`, so the form of a secret tells which of the two it is. With a
list of both, deliveries verify while a webhook moves from one to the other.
Rules: https://docs.gitlab.com/user/project/integrations/webhooks/
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.encodings import decode_key
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets, current_values
from flask_convex_http.webhooks.standard import StandardWebhooks
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_TOKEN = "X-Gitlab-Token"
_EVENT = "X-Gitlab-Event"
_KEY = "Idempotency-Key"
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_PREFIX = "whsec_"


class _SigningKey(bytes):
    """The key of a signing token, as a type that cannot be confused with a secret token."""


class GitLab(Provider):
    """Webhooks of GitLab. The type of an event is its `object_kind`, such as `merge_request`, and the data the payload.

    Args:
        secret: The signing token (`whsec_...`) or the secret token of the webhook, `from_env(...)`, or a list of these.
        tolerance: How far the signed time may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "gitlab"
    issues_secrets = False
    object_field = ""
    required_headers = ((_TOKEN, "webhook-signature"),)
    credential_headers = frozenset({_TOKEN.lower()})
    profile = Profile(
        # What a secret token leaves: nothing. A signing token signs the id, the time and the body.
        signed=(),
        id_from=_KEY,
        id_is_signed=False,
        timeout=timedelta(seconds=10),
        # GitLab does not retry. The page of the webhook sends a request of the last two days again.
        redelivery=timedelta(days=2),
        headers=(*_SIGNED, _KEY, _EVENT, "X-Gitlab-Event-UUID", "X-Gitlab-Webhook-UUID", "X-Gitlab-Instance"),
        source="https://docs.gitlab.com/user/project/integrations/webhooks/",
    )

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
        self._standard = StandardWebhooks(secret=secret)

    @property
    def signs_time(self) -> bool:
        """Whether one of the secrets is a signing token."""
        return any(value.startswith(_PREFIX) for value in current_values(self._secrets))

    def timestamp(self, delivery: Delivery) -> int | None:
        """Return the signed time, or None for a delivery without a signature."""
        sent = delivery.headers.get("webhook-timestamp")
        return None if sent is None else parse_timestamp(sent)

    def key(self, secret: str) -> bytes:
        """Return the key of a signing token, or the text of a secret token."""
        return _SigningKey(decode_key(secret.removeprefix(_PREFIX))) if secret.startswith(_PREFIX) else secret.encode()

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature, or the secret token."""
        if isinstance(key, _SigningKey):
            return "webhook-signature" in delivery.headers and self._standard.matches(delivery, key)
        given = delivery.headers.get(_TOKEN.lower(), "")
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), key)

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its id is a digest if GitLab is older than 17.4, which sends no `Idempotency-Key`."""
        payload = parse_object(delivery.body)
        kind = payload.get("object_kind") or payload.get("event_name")
        event_type = kind if isinstance(kind, str) else ""
        has_id = any(name.lower() in delivery.headers for name in ("webhook-id", _KEY))
        event_id = delivery.token("webhook-id", _KEY) if has_id else digest(event_type, delivery.body)
        return Content(id=event_id, type=event_type, data=payload, payload=payload)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign with a signing token, or add a secret token."""
        hook = event_type.replace("_", " ").title() + " Hook"
        headers = {"Content-Type": "application/json", "User-Agent": "GitLab/19.0.0", _EVENT: hook, _KEY: event_id}
        if not secret.startswith(_PREFIX):
            return {**headers, _TOKEN: secret}
        signed = self._standard.sign(body, secret=secret, event_id=event_id, event_type=event_type, now=now)
        return {**signed, **headers}
