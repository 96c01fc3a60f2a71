"""Standard Webhooks, and what it shares with Svix, from which it comes.

The signature is computed by the `standardwebhooks` package, which Svix's own library delegates to.
Comparing is ours, because theirs refuses the whole delivery, by an untyped exception, over one malformed
entry of the list.
Rules: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Stricter than the vendor's library, each for a reason: a timestamp is digits only (theirs takes " 12.9 "),
an id holds no full stop (it separates the signed parts), a signature is in the one base64 form that was
computed, a body is a JSON object, and a secret is `whsec_` and real base64 (theirs drops what is not
base64, which turns a pasted mistake into a weak key). More lenient: a malformed entry of the list does not
spoil the good one beside it.
"""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta

from flask_convex_http.errors import ConfigurationError, VerificationError
from flask_convex_http.webhooks.base import DEFAULT_TOLERANCE, Provider
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, parse_timestamp, text_field
from flask_convex_http.webhooks.secrets import Secrets

_SECRET_PREFIX = "whsec_"


class StandardScheme(Provider):
    """The signature scheme of Standard Webhooks; a subclass says which headers carry it.

    Args:
        secret: The endpoint's signing secret (`whsec_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.

    Raises:
        ConfigurationError: The standardwebhooks package is not installed.
        RegistrationError: The secret or the tolerance cannot work.
    """

    id_headers: tuple[str, ...]
    timestamp_headers: tuple[str, ...]
    signature_headers: tuple[str, ...]

    def __init__(self, *, secret: Secrets, tolerance: timedelta = DEFAULT_TOLERANCE) -> None:
        super().__init__(secret=secret, tolerance=tolerance)
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
        """Decode `whsec_<base64>`; the padding may be missing."""
        encoded = secret.removeprefix(_SECRET_PREFIX)
        if encoded == secret:
            raise ValueError("the secret does not start with whsec_")
        encoded = encoded.rstrip("=")
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        if not key:
            raise ValueError("the secret is empty")
        return key

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare each entry of the list with the expected one; other versions never equal it."""
        at = datetime.fromtimestamp(self.timestamp(delivery), tz=UTC)
        expected = self._webhook(key).sign(self._id(delivery), at, delivery.body.decode()).encode()
        entries = delivery.header(*self.signature_headers).split(" ")
        matched = [hmac.compare_digest(entry.encode("utf-8", "surrogatepass"), expected) for entry in entries]
        return any(matched)

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

    def _id(self, delivery: Delivery) -> str:
        value = delivery.token(*self.id_headers)
        if "." in value:
            raise VerificationError("malformed", f"{self.id_headers[0]} header must not hold a full stop")
        return value


class StandardWebhooks(StandardScheme):
    """Webhooks of any sender that follows Standard Webhooks (`webhook-*` headers).

    Args:
        secret: The endpoint's signing secret (`whsec_...`), `from_env(...)`, or a list of these.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.

    Raises:
        ConfigurationError: The standardwebhooks package is not installed.
        RegistrationError: The secret or the tolerance cannot work.
    """

    name = "standard"
    id_headers = ("webhook-id",)
    timestamp_headers = ("webhook-timestamp",)
    signature_headers = ("webhook-signature",)
