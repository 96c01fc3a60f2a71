"""Standard Webhooks, and the signature scheme that it shares with Svix.

A `whsec_` secret verifies `v1` signatures (HMAC), a `whpk_` public key verifies `v1a` signatures (ed25519). The
`standardwebhooks` package, which Svix's own library also uses, is not used: it does not support `v1a`, raises an
untyped exception for the whole delivery if one entry of the list is malformed, and is slow for a forgery. A test
compares its verdicts with these.
Rules: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Stricter than the package:

* A timestamp has only digits. The package accepts " 12.9 ".
* An id contains no full stop, which separates the signed parts.
* A signature has exactly the base64 that was computed, and only the first ten `v1a` entries of a list are checked.
* A body is a JSON object.
* A secret is valid base64, with or without `whsec_`. The package skips invalid characters, which makes a weak key of a
  bad paste.

More lenient: a malformed entry of the list does not reject the valid one beside it.
"""

from __future__ import annotations

import base64
import hmac
import string
from datetime import timedelta

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.ed25519 import PRIVATE_PREFIX, PUBLIC_PREFIX, PublicKey, public_key, sign, verifies
from flask_convex_http.webhooks.encodings import decode_base64, decode_key
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp, require_utf8, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secret_mistakes import visible_mistake
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE

_SECRET_PREFIX = "whsec_"
#: Prefixes of secrets whose whole text is the key. Polar's library encodes it as base64 before it decodes that.
_LITERAL_PREFIXES = ("polar_whs_",)
_ASYMMETRIC = "v1a,"
_URL_SAFE = frozenset(string.ascii_letters + string.digits + "-_=")
#: The `v1a` entries that are checked. A check costs more than a hash, and anyone can send a long list.
_MOST_ASYMMETRIC = 10


class StandardScheme(Provider):
    """The signature scheme of Standard Webhooks. A subclass names the headers.

    Args:
        secret: The endpoint's signing secret (`whsec_...` or `whpk_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    id_headers: tuple[str, ...]
    timestamp_headers: tuple[str, ...]
    signature_headers: tuple[str, ...]
    #: The `User-Agent` of test deliveries.
    user_agent = "Standard-Webhooks/1.0"

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret=secret, tolerance=tolerance, future_tolerance=future_tolerance)
        self.required_headers = (self.id_headers, self.timestamp_headers, self.signature_headers)

    def timestamp(self, delivery: Delivery) -> int:
        """Return the seconds in the timestamp header."""
        return parse_timestamp(delivery.header(*self.timestamp_headers))

    def key(self, secret: str) -> bytes:
        """Decode a secret: base64 with or without `whsec_`, or a `whpk_` or `whsk_` key, padded or not."""
        secret = _without_version(secret)
        if secret.startswith(_LITERAL_PREFIXES):
            return secret.encode()
        if secret.startswith((PUBLIC_PREFIX, PRIVATE_PREFIX)):
            return public_key(secret)
        return decode_key(secret.removeprefix(_SECRET_PREFIX))

    def mistake(self, secret: str) -> str:
        """Return the mistake that a secret shows by itself, such as text that is not base64."""
        shown = visible_mistake(secret)
        if shown:
            return shown
        try:
            self.key(secret)
        except ValueError:
            return _malformed(_without_version(secret))
        except MissingSecretError:
            return ""
        return ""

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether the list has a signature by this key. Entries of the other scheme never match."""
        entries = delivery.header(*self.signature_headers).split(" ")
        if isinstance(key, PublicKey):
            return self._matches_public(delivery, key, entries)
        require_utf8(delivery.body)
        expected = _symmetric(key, self._id(delivery), self.timestamp(delivery), delivery.body)
        matched = [hmac.compare_digest(entry.encode("utf-8", "surrogatepass"), expected) for entry in entries]
        return any(matched)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign as the sender does, with a `whsec_` secret or a `whsk_` key. The type is in the body."""
        seconds = int(now // 1000)
        return {
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
            self.id_headers[0]: event_id,
            self.timestamp_headers[0]: str(seconds),
            self.signature_headers[0]: self._signature(secret, event_id, seconds, body),
        }

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the payload if the sender has no `data`."""
        payload = parse_object(delivery.body)
        return Content(
            id=self._id(delivery),
            # The specification recommends a type but does not require it.
            type=text_field(payload, "type") if "type" in payload else "",
            data=payload.get("data", payload),
            payload=payload,
        )

    def _signature(self, secret: str, event_id: str, seconds: int, body: bytes) -> str:
        secret = _without_version(secret)
        if secret.startswith(PUBLIC_PREFIX):
            raise MissingSecretError("A whpk_ key only verifies: sign with the whsk_ key that belongs to it")
        if not secret.startswith(PRIVATE_PREFIX):
            return _symmetric(self.key(secret), event_id, seconds, body).decode()
        return _ASYMMETRIC + base64.b64encode(sign(secret, _content(event_id, str(seconds), body))).decode()

    def _matches_public(self, delivery: Delivery, key: PublicKey, entries: list[str]) -> bool:
        content = _content(self._id(delivery), delivery.header(*self.timestamp_headers), delivery.body)
        written = [entry.removeprefix(_ASYMMETRIC) for entry in entries if entry.startswith(_ASYMMETRIC)]
        return any(_verifies(key, content, text) for text in written[:_MOST_ASYMMETRIC])

    def _id(self, delivery: Delivery) -> str:
        value = delivery.token(*self.id_headers)
        if "." in value:
            raise VerificationError("malformed", f"{self.id_headers[0]} header must not hold a full stop")
        return value


def _without_version(secret: str) -> str:
    """Return a secret without the version that some tools print before it: `v1,whsec_...`, `v1a,whpk_...`."""
    return secret.removeprefix("v1,").removeprefix("v1a,")


def _malformed(secret: str) -> str:
    if secret.startswith((PUBLIC_PREFIX, PRIVATE_PREFIX)):
        return f"starts with {PUBLIC_PREFIX} or {PRIVATE_PREFIX} and is no such key; copy it again"
    key = secret.removeprefix(_SECRET_PREFIX)
    if not key:
        return f"has nothing after {_SECRET_PREFIX}"
    if set(key) & set("-_") and not set(key) - _URL_SAFE:
        return "is base64 with - and _, which the sender does not use: write + and / instead, or copy it again"
    return f"is not base64, alone or after {_SECRET_PREFIX}; copy it again from the sender's page"


def _content(event_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{event_id}.{timestamp}.".encode() + body


def _symmetric(key: bytes, event_id: str, seconds: int, body: bytes) -> bytes:
    """Return the `v1` entry of a delivery. The package signs the number of seconds too, not the header's text."""
    return b"v1," + base64.b64encode(hmac.digest(key, _content(event_id, str(seconds), body), "sha256"))


def _verifies(key: PublicKey, content: bytes, text: str) -> bool:
    try:
        signature = decode_base64(text)
    except ValueError:
        return False  # a malformed entry of the list does not reject the valid one beside it
    return verifies(key, content, signature)


class StandardWebhooks(StandardScheme):
    """Webhooks of any sender that follows Standard Webhooks (`webhook-*` headers).

    Args:
        secret: The endpoint's signing secret (`whsec_...` or `whpk_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    name = "standard"
    # Senders choose their own figures. These are the ones that the specification recommends.
    profile = Profile(
        signed=("webhook-id", "webhook-timestamp", "body"),
        id_from="webhook-id",
        id_is_signed=True,
        timeout=timedelta(seconds=15),
        retries=(
            timedelta(seconds=5),
            timedelta(minutes=5),
            timedelta(minutes=30),
            *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
        ),
        source="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    )
    id_headers = ("webhook-id",)
    timestamp_headers = ("webhook-timestamp",)
    signature_headers = ("webhook-signature",)
