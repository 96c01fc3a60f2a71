"""Standard Webhooks, and what it shares with Svix, from which it comes.

A `whsec_` secret verifies `v1` signatures (HMAC), a `whpk_` public key `v1a` ones (ed25519), and neither the other's.
An HMAC is computed by the `standardwebhooks` package, which Svix's own library delegates to; it knows no `v1a`.
Comparing is ours, because theirs refuses the whole delivery, by an untyped exception, over one malformed
entry of the list.
Rules: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Stricter than the vendor's library, each for a reason: a timestamp is digits only (theirs takes " 12.9 "), an id holds
no full stop (it separates the signed parts), a signature is in the one base64 form that was computed, a body is a JSON
object, a secret is `whsec_` and real base64 (theirs drops what is not base64, which turns a pasted mistake into a weak
key), and of a list's `v1a` entries the first ten count. More lenient: a malformed entry of the list does not spoil the
good one beside it.
"""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta

from flask_convex_http.errors import ConfigurationError, MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import DEFAULT_TOLERANCE, Provider
from flask_convex_http.webhooks.ed25519 import PRIVATE_PREFIX, PUBLIC_PREFIX, PublicKey, public_key, sign, verifies
from flask_convex_http.webhooks.encodings import decode_base64, decode_key
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import Secrets

_SECRET_PREFIX = "whsec_"
_ASYMMETRIC = "v1a,"
#: Verifying costs more than hashing, and anybody can send a long list.
_MOST_ASYMMETRIC = 10


class StandardScheme(Provider):
    """The signature scheme of Standard Webhooks; a subclass says which headers carry it.

    Args:
        secret: The endpoint's signing secret (`whsec_...` or `whpk_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: The same for the future alone.

    Raises:
        ConfigurationError: The standardwebhooks package is not installed.
        RegistrationError: The secret or a tolerance cannot work.
    """

    id_headers: tuple[str, ...]
    timestamp_headers: tuple[str, ...]
    signature_headers: tuple[str, ...]
    #: What senders of this kind call themselves, for deliveries of tests.
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
        try:
            from standardwebhooks import Webhook
        except ImportError as error:
            raise ConfigurationError(
                f'{type(self).__name__}() needs the standardwebhooks package: pip install "flask_convex_http[svix]"'
            ) from error
        self._webhook = Webhook

    def timestamp(self, delivery: Delivery) -> int:
        """Return the timestamp header's seconds."""
        return parse_timestamp(delivery.header(*self.timestamp_headers))

    def key(self, secret: str) -> bytes:
        """Decode `whsec_`, `whpk_` or `whsk_` and base64; the padding may be missing."""
        if secret.startswith((PUBLIC_PREFIX, PRIVATE_PREFIX)):
            return public_key(secret)
        if not secret.startswith(_SECRET_PREFIX):
            raise ValueError("the secret does not start with whsec_ or whpk_")
        return decode_key(secret.removeprefix(_SECRET_PREFIX))

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Look for a signature by this key in the list; those of the other scheme, or of none, never match."""
        entries = delivery.header(*self.signature_headers).split(" ")
        if isinstance(key, PublicKey):
            return self._matches_public(delivery, key, entries)
        expected = self._symmetric(key, self._id(delivery), self.timestamp(delivery), delivery.body).encode()
        matched = [hmac.compare_digest(entry.encode("utf-8", "surrogatepass"), expected) for entry in entries]
        return any(matched)

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Sign with the standardwebhooks package, or with a `whsk_` key; the type is in the body."""
        seconds = int(now // 1000)
        return {
            "Content-Type": "application/json",
            "User-Agent": self.user_agent,
            self.id_headers[0]: event_id,
            self.timestamp_headers[0]: str(seconds),
            self.signature_headers[0]: self._signature(secret, event_id, seconds, body),
        }

    def read(self, delivery: Delivery) -> Content:
        """Read an event; its data is the payload itself where the sender has no `data`."""
        payload = parse_object(delivery.body)
        return Content(
            id=self._id(delivery),
            # The specification recommends a type and does not require it.
            type=text_field(payload, "type") if "type" in payload else "",
            data=payload.get("data", payload),
            payload=payload,
        )

    def _signature(self, secret: str, event_id: str, seconds: int, body: bytes) -> str:
        if secret.startswith(PUBLIC_PREFIX):
            raise MissingSecretError("A whpk_ key only verifies: sign with the whsk_ key that belongs to it")
        if not secret.startswith(PRIVATE_PREFIX):
            return self._symmetric(self.key(secret), event_id, seconds, body)
        return _ASYMMETRIC + base64.b64encode(sign(secret, _content(event_id, str(seconds), body))).decode()

    def _symmetric(self, key: bytes, event_id: str, seconds: int, body: bytes) -> str:
        return self._webhook(key).sign(event_id, datetime.fromtimestamp(seconds, tz=UTC), body.decode())

    def _matches_public(self, delivery: Delivery, key: PublicKey, entries: list[str]) -> bool:
        content = _content(self._id(delivery), delivery.header(*self.timestamp_headers), delivery.body)
        written = [entry.removeprefix(_ASYMMETRIC) for entry in entries if entry.startswith(_ASYMMETRIC)]
        return any(_verifies(key, content, text) for text in written[:_MOST_ASYMMETRIC])

    def _id(self, delivery: Delivery) -> str:
        value = delivery.token(*self.id_headers)
        if "." in value:
            raise VerificationError("malformed", f"{self.id_headers[0]} header must not hold a full stop")
        return value


def _content(event_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{event_id}.{timestamp}.".encode() + body


def _verifies(key: PublicKey, content: bytes, text: str) -> bool:
    try:
        signature = decode_base64(text)
    except ValueError:
        return False  # a malformed entry of the list does not spoil the good one beside it
    return verifies(key, content, signature)


class StandardWebhooks(StandardScheme):
    """Webhooks of any sender that follows Standard Webhooks (`webhook-*` headers).

    Args:
        secret: The endpoint's signing secret (`whsec_...` or `whpk_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: The same for the future alone.

    Raises:
        ConfigurationError: The standardwebhooks package is not installed.
        RegistrationError: The secret or a tolerance cannot work.
    """

    name = "standard"
    # Senders choose for themselves; these are the figures that the specification recommends.
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
        honours_retry_after=True,
        source="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    )
    id_headers = ("webhook-id",)
    timestamp_headers = ("webhook-timestamp",)
    signature_headers = ("webhook-signature",)
