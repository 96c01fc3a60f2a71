"""PayPal's webhooks: a signature by a certificate that PayPal publishes.

PayPal signs the id and the time of the transmission, the id of the webhook, and a CRC-32 of the body. A CRC-32 is not
a cryptographic digest: whoever has seen a genuine delivery can make another body with the same one. So read what
matters from PayPal's API, by the id in the event.
Rules: https://developer.paypal.com/api/rest/webhooks/rest/

A retry may be another transmission, so the time is not compared with now. The event's id tells duplicates.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.certificates import certificate_matches, checked_prefixes, fetch_certificate
from flask_convex_http.webhooks.encodings import decode_base64
from flask_convex_http.webhooks.events import Content, Delivery
from flask_convex_http.webhooks.parsing import parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.remote import RemoteDocuments
from flask_convex_http.webhooks.secrets import Secrets

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ID, _TIME = "PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME"
_SIGNATURE, _URL, _ALGORITHM = "PAYPAL-TRANSMISSION-SIG", "PAYPAL-CERT-URL", "PAYPAL-AUTH-ALGO"
_HOSTS = ("api.paypal.com", "api.sandbox.paypal.com", "api-m.paypal.com", "api-m.sandbox.paypal.com")
_CERTIFICATE = re.compile(r"/v1/notifications/certs/CERT-[0-9A-Za-z-]{8,64}")
_WEBHOOK_ID = re.compile(r"[A-Za-z0-9]{8,50}")


class PayPal(Provider):
    """Webhooks of PayPal's REST APIs.

    Args:
        secret: The id of the webhook, as the page of the application shows it, `from_env(...)`, or a list of these. It
            is no secret, but a delivery of another webhook is rejected by it.
        certificate_urls: Beginnings of further URLs of certificates, for a local stand-in of PayPal. By default only
            those of PayPal are accepted.

    Raises:
        RegistrationError: The id or a URL is invalid.
    """

    name = "paypal"
    issues_secrets = False
    required_headers = ((_ID,), (_TIME,), (_SIGNATURE,), (_URL,), (_ALGORITHM,))
    profile = Profile(
        signed=("body", _ID, _TIME),
        id_from="body.id",
        id_is_signed=True,
        # PayPal does not publish its timeout.
        timeout=timedelta(seconds=30),
        # PayPal publishes 25 retries within three days, but not the waits.
        retries=(timedelta(minutes=172.8),) * 25,
        # People can resend an event of the last 30 days from the dashboard.
        redelivery=timedelta(days=30),
        source="https://developer.paypal.com/api/rest/webhooks/rest/",
    )

    def __init__(self, *, secret: Secrets, certificate_urls: Sequence[str] = ()) -> None:
        super().__init__(secret=secret)
        self._prefixes = checked_prefixes(certificate_urls)
        self._certificates: RemoteDocuments[Certificate] = RemoteDocuments("PayPal", fetch_certificate)

    def key(self, secret: str) -> bytes:
        """Return the id of the webhook.

        Raises:
            ValueError: It is something else.
        """
        if not _WEBHOOK_ID.fullmatch(secret):
            raise ValueError("not the id of a webhook")
        return secret.encode()

    def mistake(self, secret: str) -> str:
        """Return what is wrong with an id."""
        return "" if _WEBHOOK_ID.fullmatch(secret) else "is not the id of a webhook, such as 1JE4291016473214C"

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Verify the signature with the certificate that the delivery names."""
        url = delivery.header(_URL)
        if not self._is_trusted(url):
            raise VerificationError("no-match", "Webhook names a certificate that is not of PayPal")
        if delivery.header(_ALGORITHM) != "SHA256withRSA":
            raise VerificationError("malformed", f"{_ALGORITHM} header is not SHA256withRSA")
        signature = decode_base64(delivery.header(_SIGNATURE))
        message = signed_message(delivery.token(_ID), delivery.token(_TIME), key, delivery.body)
        certificate = self._certificates.get(url, may_fetch=delivery.may_fetch)
        return certificate_matches(certificate, message, signature, "sha256")

    def read(self, delivery: Delivery) -> Content:
        """Read an event. Its data is the resource."""
        payload = parse_object(delivery.body)
        return Content(
            id=text_field(payload, "id"),
            type=text_field(payload, "event_type"),
            data=payload.get("resource", payload),
            payload=payload,
        )

    def _is_trusted(self, url: str) -> bool:
        if url.startswith(self._prefixes):
            return True
        if not url.isascii() or not url.isprintable():
            return False
        parts = urlsplit(url)
        is_paypal = parts.scheme == "https" and parts.netloc in _HOSTS and not parts.query
        return is_paypal and bool(_CERTIFICATE.fullmatch(parts.path))


def signed_message(transmission_id: str, time: str, webhook_id: bytes, body: bytes) -> bytes:
    """Return the text that PayPal signs: its parts, separated by bars."""
    checksum = str(zlib.crc32(body)).encode()
    return b"|".join((transmission_id.encode(), time.encode(), webhook_id, checksum))
