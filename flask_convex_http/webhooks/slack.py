"""Slack's requests: events, slash commands and interactions, all signed in the same way.

Slack's own library is not used: its check is a few lines, and raises `ValueError` for a timestamp that is not a number.
Rules: https://docs.slack.dev/authentication/verifying-requests-from-slack

Stricter than that library: a timestamp has only digits (the library accepts what `int()` accepts), and a signed body
that is neither a JSON object nor a form is rejected. More lenient: the tolerance can be chosen, and the hexadecimal
digits of a signature may be in upper case.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp, require_utf8, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_SIGNATURE = "X-Slack-Signature"
_TIMESTAMP = "X-Slack-Request-Timestamp"
_LONGEST_PROBE = 10_000


class Slack(Provider):
    """Requests of Slack: the Events API, slash commands and interactivity.

    | Request | `type` | `data` | `id` |
    | --- | --- | --- | --- |
    | an event | the inner event's type, `app_mention` | the inner event | `event_id` |
    | a slash command | the command, `/deploy` | the form's fields | `trigger_id` |
    | an interaction | the payload's type, `block_actions` | the payload | `trigger_id` |

    Without such an id the id is the body's SHA-256.

    Args:
        secret: The app's signing secret, `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "slack"
    secret_form = SecretForm.of(
        r"(?!xox[a-z]-|xapp-).+", "the signing secret of the app (Basic Information), but a token"
    )
    object_field = "event"
    required_headers = ((_SIGNATURE,), (_TIMESTAMP,))
    profile = Profile(
        signed=("body", _TIMESTAMP),
        id_from="body.event_id",
        id_is_signed=True,
        timeout=timedelta(seconds=3),
        retries=(timedelta(0), timedelta(minutes=1), timedelta(minutes=5)),
        # With Delayed Events, an option of the app: once an hour for a day.
        redelivery=timedelta(hours=25),
        stop_headers={"X-Slack-No-Retry": "1"},
        headers=("X-Slack-Retry-Num", "X-Slack-Retry-Reason"),
        shows_answers=True,
        source="https://docs.slack.dev/apis/events-api",
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
        """Return the seconds in the timestamp header."""
        return parse_timestamp(delivery.header(_TIMESTAMP))

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the header's signature with the HMAC of the version, the timestamp and the body."""
        require_utf8(delivery.body)
        received = decode_signature(delivery.header(_SIGNATURE), "v0=", "hex")
        return hmac.compare_digest(_signature(key, delivery.header(_TIMESTAMP), delivery.body), received)

    def read(self, delivery: Delivery) -> Content:
        """Read an event, a slash command or an interaction."""
        body = delivery.body
        # Only the signed bytes decide: the content type is not signed, and no form begins with a brace.
        if body.lstrip()[:1] == b"{":
            return _event(body, parse_object(body))
        fields = _fields(body)
        if "payload" in fields:
            return _interaction(body, parse_object(fields["payload"].encode()))
        return Content(id=_id(body, fields, "trigger_id"), type=fields.get("command", ""), data=fields, payload=fields)

    def handshake(self, event: WebhookEvent) -> str | None:
        """Return the challenge with which Slack verifies a new URL, or an empty text for a check of the certificate."""
        if event.payload.get("ssl_check") == "1" and self.is_probe(event.body):
            return ""
        if event.type != "url_verification" or event.payload.get("type") != "url_verification":
            return None
        return text_field(event.payload, "challenge")

    def is_probe(self, body: bytes) -> bool:
        """Return whether Slack checks the certificate of the URL, which it does with `ssl_check=1` and no signature."""
        if len(body) > _LONGEST_PROBE or b"ssl_check=1" not in body:
            return False
        return ("ssl_check", "1") in parse_qsl(body.decode("utf-8", "replace"))

    def needs_fresh_response(self, event: WebhookEvent) -> bool:
        """Return whether the request is a slash command or an interaction: Slack shows the response to someone.

        Slack sends such a request once, and retries only events.
        """
        return event.body.lstrip()[:1] != b"{"

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as Slack does. The id and the type are in the body."""
        timestamp = str(int(now // 1000))
        is_json = body.lstrip()[:1] == b"{"
        return {
            "Content-Type": "application/json" if is_json else "application/x-www-form-urlencoded",
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            _TIMESTAMP: timestamp,
            _SIGNATURE: f"v0={_signature(self.key(secret), timestamp, body).hex()}",
        }


def _signature(key: bytes, timestamp: str, body: bytes) -> bytes:
    return hmac.digest(key, f"v0:{timestamp}:".encode() + body, "sha256")


def _event(body: bytes, payload: dict[str, Any]) -> Content:
    inner = payload.get("event")
    data = inner if isinstance(inner, dict) else payload
    return Content(id=_id(body, payload, "event_id"), type=text_field(data, "type"), data=data, payload=payload)


def _interaction(body: bytes, payload: dict[str, Any]) -> Content:
    return Content(id=_id(body, payload, "trigger_id"), type=text_field(payload, "type"), data=payload, payload=payload)


def _id(body: bytes, fields: Mapping[str, Any], name: str) -> str:
    return text_field(fields, name) if name in fields else hashlib.sha256(body).hexdigest()


def _fields(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=100)
    fields = dict(pairs)
    if not fields or len(fields) != len(pairs):
        raise VerificationError("malformed", "Webhook form is empty or has a field twice")
    return fields
