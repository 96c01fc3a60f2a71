"""Twilio's webhooks: `X-Twilio-Signature`, an HMAC of the URL and a form's fields, or of a URL with the body's digest.

Twilio signs with SHA-1, which is still safe in an HMAC. A webhook with a key of its own is signed with SHA-256.
Rules: https://www.twilio.com/docs/usage/security, and `twilio/request_validator.py` of the `twilio` package

Stricter than the package: a signature is padded base64, and a digest in the URL always has to be that of the body.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask_convex_http.webhooks.encodings import decode_signature
from flask_convex_http.webhooks.events import Content, Delivery, SignedRequest
from flask_convex_http.webhooks.hmac_signature import HmacSignature
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import SecretForm
from flask_convex_http.webhooks.secrets import Secrets

_SIGNATURE = "X-Twilio-Signature"
_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
_TOKEN = "I-Twilio-Idempotency-Token"
_DIGEST = "bodySHA256"
_PORTS = {"http": 80, "https": 443}
#: The fields that tell what a form is about, in the order in which they decide.
_STATUSES = {
    "RecordingStatus": "recording",
    "TranscriptionStatus": "transcription",
    "MessageStatus": "message",
    "SmsStatus": "message",
    "CallStatus": "call",
}


class Twilio(HmacSignature):
    """Webhooks of Twilio: incoming messages and calls, status callbacks, and Event Streams.

    The type of a form is made of its status, such as `message.received`, `message.delivered` or `call.ringing`, and the
    data its fields. An event of Event Streams has its own type and id, and each of a batch is a delivery of its own.

    Args:
        secret: The account's auth token, or the key that signs the webhook; `from_env(...)`, or a list of these.
        url: The URL as it is configured at Twilio, without a query string, if a proxy changes it. By default the URL of
            the request.

    Raises:
        RegistrationError: The secret is invalid.
    """

    name = "twilio"
    secret_form = SecretForm.of(r"(?!(AC|SK)[0-9a-f]{32}$).+", "the auth token of the account, but a SID")
    issues_secrets = True
    object_field = ""
    profile = Profile(
        signed=("body", "url"),
        id_from=_TOKEN,
        id_is_signed=False,
        timeout=timedelta(seconds=15),
        # Twilio repeats a connection that could not be made, and what a fragment of the URL (#rc=) asks for: five times
        # within the timeout. Event Streams retries for four hours.
        redelivery=timedelta(hours=4),
        rejected_status=403,
        headers=(_TOKEN, _SETTINGS),
        shows_answers=True,
        source="https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides",
    )

    def __init__(self, *, secret: Secrets, url: str | None = None) -> None:
        super().__init__(
            secret=secret,
            header=_SIGNATURE,
            algorithm="sha1",
            allow_weak_algorithm=True,
            encoding="base64",
            signed="{url}{form}",
            url=url,
            unsigned_id_header=_TOKEN,
            batch=True,
        )

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the signature with those of the URL with and without its port, as Twilio's package does."""
        received = decode_signature(delivery.header(_SIGNATURE), "", "base64")
        algorithm = _algorithm(delivery)
        url = self._signed_url(delivery)
        digest = delivery.query.get(_DIGEST) if "?" in url else None
        if digest is not None and not hmac.compare_digest(_sha256(delivery.body), digest.encode()):
            return False
        form = super().signed_content(delivery) if digest is None else b""
        expected = [hmac.digest(key, spelling + form, algorithm) for spelling in _spellings(url)]
        return any(hmac.compare_digest(signature, received) for signature in expected)

    def signed_content(self, delivery: Delivery) -> bytes:
        """Return a form's fields in order, or the body of another kind."""
        return delivery.body if _DIGEST in delivery.query else super().signed_content(delivery)

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read a form, or an event of Event Streams."""
        content = super().read_element(element, delivery)
        if not isinstance(element, dict):
            return content
        if isinstance(element.get("specversion"), str):
            return replace(content, id=_text(element, "id") or content.id, type=_text(element, "type"))
        return replace(content, type=_type(element))

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Sign a form, or a JSON body whose digest is added to the URL."""
        headers = self.named_headers(event_id, event_type)
        is_json = request.body.lstrip()[:1] in (b"{", b"[")
        if is_json:
            request = request.with_query(headers, {_DIGEST: _sha256(request.body).decode()})
        delivery = Delivery(request.headers_of(headers), request.body, now)
        form = b"" if is_json else self.signed_content(delivery)
        signature = hmac.digest(self.key(secret), self._signed_url(delivery).encode() + form, "sha1")
        kind = "application/json" if is_json else "application/x-www-form-urlencoded"
        signed = {
            "Content-Type": kind,
            "User-Agent": "TwilioProxy/1.1",
            _SIGNATURE: base64.b64encode(signature).decode(),
        }
        return request.with_headers({**headers, **signed})


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _algorithm(delivery: Delivery) -> str:
    """Return the algorithm that the sender names. Its header is not signed, but both algorithms need the key."""
    settings = delivery.headers.get(_SETTINGS.lower(), "")
    return "sha256" if "algorithm=hmac_sha256" in settings.lower() else "sha1"


@functools.lru_cache(maxsize=64)  # a webhook has one URL
def _spellings(url: str) -> frozenset[bytes]:
    """Return the bytes of a URL without and with its port. Twilio signs one or the other."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    host = parts.netloc.removesuffix(f":{port}")
    rest = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
    spellings = url, f"{parts.scheme}://{host}{rest}", f"{parts.scheme}://{host}:{port}{rest}"
    return frozenset([spelling.encode("utf-8", "surrogateescape") for spelling in spellings])


def _type(fields: dict[str, Any]) -> str:
    for name, kind in _STATUSES.items():
        if status := _text(fields, name):
            return f"{kind}.{status}"
    return ""


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
