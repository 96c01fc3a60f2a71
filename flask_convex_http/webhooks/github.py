"""GitHub's webhooks: `X-Hub-Signature-256` over the body, sent as JSON or as a form.

What GitHub does not sign: the time, `X-GitHub-Delivery` and `X-GitHub-Event`. Whoever has seen one delivery
can send it again under a fresh id, so whoever remembers deliveries must remember the signed body as well as
the id.
Rules: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.hmac_signature import decode_signature
from flask_convex_http.webhooks.secrets import Secrets

_HEADER = "X-Hub-Signature-256"
_FORM = "application/x-www-form-urlencoded"


class GitHub(Provider):
    """Webhooks of GitHub.

    A signed body that is not JSON is still GitHub's word: its payload and data are then the text itself.

    Args:
        secret: The webhook's secret (its UTF-8 bytes are the key), `from_env(...)`, or a list of these.

    Raises:
        RegistrationError: The secret cannot work.
    """

    name = "github"
    required_headers = ((_HEADER,),)

    def __init__(self, *, secret: Secrets) -> None:
        # No tolerance: GitHub signs no time.
        super().__init__(secret=secret)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the body."""
        received = decode_signature(delivery.header(_HEADER), "sha256=", "hex")
        return hmac.compare_digest(hmac.digest(key, delivery.body, "sha256"), received)

    def read(self, delivery: Delivery) -> Content:
        """Read an event; its data is the payload, and its id the body's digest where GitHub's own is missing."""
        payload = _payload(delivery)
        given = delivery.headers
        return Content(
            id=delivery.token("X-GitHub-Delivery") if given.get("x-github-delivery") else _digest(delivery.body),
            type=delivery.token("X-GitHub-Event") if given.get("x-github-event") else "",
            data=payload,
            payload=payload,
        )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _payload(delivery: Delivery) -> Any:
    content_type = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
    document = _form_payload(delivery.body) if content_type == _FORM else delivery.body
    try:
        return msgspec.json.decode(document)
    except msgspec.DecodeError:
        return document.decode()


def _form_payload(body: bytes) -> bytes:
    # The content type is not signed: without these checks, who repeats a JSON delivery as a form could choose
    # the payload from a text in it, such as an issue's title "&payload=...".
    fields = parse_qsl(body.decode(), strict_parsing=True, errors="strict")
    if not body.startswith(b"payload=") or len(fields) != 1:
        raise VerificationError("malformed", "Webhook form must have one field, payload")
    return fields[0][1].encode()
