"""GitHub's webhooks: `X-Hub-Signature-256` over the body, sent as JSON or as a form.

GitHub does not sign the time, `X-GitHub-Delivery` and `X-GitHub-Event`. Anyone who has seen a delivery can send it
again under a fresh id, and then it runs again. The webhook option `dedupe="content"` recognises it by its body. It is
not the default, because real events may have the same body: a member who is added, removed and added again.
Rules: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import parse_json
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "X-Hub-Signature-256"
_DELIVERY, _EVENT = "X-GitHub-Delivery", "X-GitHub-Event"
_FORM = "application/x-www-form-urlencoded"


class GitHub(Provider):
    """Webhooks of GitHub.

    A signed body that is not JSON is accepted too. Its payload and data are the text.

    Args:
        secret: The webhook's secret (its UTF-8 bytes are the key), `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "github"
    object_field = ""
    issues_secrets = False
    required_headers = ((_HEADER,),)
    profile = Profile(
        signed=("body",),
        id_from=_DELIVERY,
        id_is_signed=False,
        timeout=timedelta(seconds=10),
        # GitHub does not retry. People can redeliver by hand or through the API within three days.
        redelivery=timedelta(days=3),
        # https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap
        max_body_bytes=25 * 1024 * 1024,
        headers=(
            *(_DELIVERY, _EVENT, "X-GitHub-Hook-ID", "X-Hub-Signature"),
            *("X-GitHub-Hook-Installation-Target-ID", "X-GitHub-Hook-Installation-Target-Type"),
            *("X-GitHub-Enterprise-Host", "X-GitHub-Enterprise-Version"),
        ),
        source="https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries",
    )

    def __init__(self, *, secret: Secrets) -> None:
        # No tolerance: GitHub does not sign a time.
        super().__init__(secret=secret)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the body."""
        received = decode_signature(delivery.header(_HEADER), "sha256=", "hex")
        return hmac.compare_digest(hmac.digest(key, delivery.body, "sha256"), received)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as GitHub does, and add the headers that it does not sign."""
        return {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/0000000",
            _DELIVERY: event_id,
            _EVENT: event_type,
            "X-GitHub-Hook-ID": "1",
            "X-GitHub-Hook-Installation-Target-ID": "1",
            "X-GitHub-Hook-Installation-Target-Type": "repository",
            _HEADER: f"sha256={hmac.digest(self.key(secret), body, 'sha256').hex()}",
        }

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the payload, and its id the body's digest if GitHub's own is missing."""
        payload = _payload(delivery)
        given = delivery.headers
        return Content(
            id=delivery.token(_DELIVERY) if given.get(_DELIVERY.lower()) else _digest(delivery.body),
            type=delivery.token(_EVENT) if given.get(_EVENT.lower()) else "",
            data=payload,
            payload=payload,
        )

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return the digest of the body alone: a body belongs to one event, and its name is not signed."""
        return f"sha256:{_digest(event.body)}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _payload(delivery: Delivery) -> Any:
    content_type = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
    # The content type is not signed. A form replayed as JSON would be a text, in which handlers find nothing to do.
    is_form = content_type == _FORM or delivery.body.startswith(b"payload=")
    document = _form_payload(delivery.body) if is_form else delivery.body
    try:
        return parse_json(document)
    except VerificationError as error:
        if isinstance(error.__cause__, RecursionError):
            raise
        return document.decode()


def _form_payload(body: bytes) -> bytes:
    # The content type is not signed. Without these checks, someone who replays a JSON delivery as a form could choose
    # the payload with a text in it, such as an issue's title "&payload=...".
    fields = parse_qsl(body.decode(), strict_parsing=True, errors="strict")
    if not body.startswith(b"payload=") or len(fields) != 1:
        raise VerificationError("malformed", "Webhook form must have one field, payload")
    return fields[0][1].encode()
