"""Amazon SNS over HTTPS: a signature in the body, by a certificate that AWS publishes.

Anyone can create a topic in AWS, and its messages have valid signatures of AWS. So the topics are an argument, and a
message of another topic is rejected before anything is fetched.
Rules: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

Stricter than AWS's libraries: the certificate's URL must have the form that AWS uses, and only the text of a message
may have line breaks. The signed parts are separated by line breaks, so one in another part could move the border.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask_convex_http.errors import RegistrationError, VerificationError, VerificationUnavailableError
from flask_convex_http.identities.fetch import FetchError, fetch
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.certificates import certificate_matches, checked_prefixes, fetch_certificate
from flask_convex_http.webhooks.encodings import decode_base64
from flask_convex_http.webhooks.events import Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.parsing import parse_json, parse_object, text_field
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.remote import RemoteDocuments
from flask_convex_http.webhooks.signature_checks import Digest

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[\w.-]{1,256}", re.ASCII)
_HOST = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]{32}\.pem")
_DIGESTS: dict[str, Digest] = {"1": "sha1", "2": "sha256"}
#: The signed fields of each type of message, in the order in which they are signed.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class AwsSns(Provider):
    """Messages of Amazon SNS topics with an HTTPS subscription, without raw message delivery.

    A subscription is confirmed automatically: the URL in the confirmation is opened, if it is AWS's.

    Args:
        topics: The ARNs of the topics whose messages are accepted.
        certificate_urls: Beginnings of further URLs of certificates and confirmations, for a local stand-in such as
            LocalStack: `http://localhost:4566/`. By default only those of AWS are accepted.

    Raises:
        RegistrationError: No topic is given, one is no ARN, or a URL is invalid.
    """

    name = "aws_sns"
    issues_secrets = False
    has_secrets = False
    profile = Profile(
        # Fields of the body, not its bytes.
        signed=(),
        id_from="body.MessageId",
        id_is_signed=True,
        timeout=timedelta(seconds=15),
        # The default policy: 3 retries, 20 seconds apart. A policy of the subscription may retry for one hour.
        retries=(timedelta(seconds=20),) * 3,
        redelivery=timedelta(hours=1),
        max_body_bytes=1024 * 1024,
        headers=("x-amz-sns-message-type", "x-amz-sns-message-id", "x-amz-sns-topic-arn", "x-amz-sns-subscription-arn"),
        source="https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html",
    )

    def __init__(self, *, topics: Sequence[str], certificate_urls: Sequence[str] = ()) -> None:
        super().__init__(secret=None)
        self._topics = tuple([topic.encode() for topic in _checked_topics(topics)])
        self._prefixes = checked_prefixes(certificate_urls)
        self._certificates: RemoteDocuments[Certificate] = RemoteDocuments("Amazon SNS", fetch_certificate)

    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Compare the topic, and verify the signature with the certificate that the message names."""
        payload = parse_object(delivery.body)
        if not self._is_topic(text_field(payload, "TopicArn")):
            raise VerificationError("no-match", "Webhook message is of another topic")
        digest = _DIGESTS.get(text_field(payload, "SignatureVersion"))
        if digest is None:
            raise VerificationError("malformed", "Webhook message has an unknown SignatureVersion")
        message, signature = signed_message(payload), decode_base64(text_field(payload, "Signature"))
        url = text_field(payload, "SigningCertURL")
        if not self._is_trusted(url, _CERTIFICATE):
            raise VerificationError("no-match", "Webhook message names a certificate that is not of AWS")
        certificate = self._certificates.get(url, may_fetch=delivery.may_fetch)
        return certificate_matches(certificate, message, signature, digest)

    def read(self, delivery: Delivery) -> Content:
        """Read a message. Its data is the JSON in it, or its text."""
        payload = parse_object(delivery.body)
        return Content(
            id=text_field(payload, "MessageId"),
            type=text_field(payload, "Type"),
            data=_data(payload.get("Message")),
            payload=payload,
        )

    def handshake(self, event: WebhookEvent) -> str | None:
        """Confirm a subscription. This opens a URL of AWS, before any transaction begins.

        Raises:
            VerificationUnavailableError: AWS does not confirm it now.
        """
        if event.type != "SubscriptionConfirmation":
            return None
        url = event.payload.get("SubscribeURL")
        if not isinstance(url, str) or not self._is_trusted(url, None):
            raise VerificationUnavailableError("The URL that confirms a subscription is not of AWS")
        try:
            fetch(url, accept="*/*")
        except FetchError as error:
            raise VerificationUnavailableError(f"AWS does not confirm the subscription: {error}") from error
        return ""

    def _is_topic(self, topic: str) -> bool:
        given = topic.encode("utf-8", "surrogatepass")
        found = [hmac.compare_digest(given, known) for known in self._topics]
        return any(found)

    def _is_trusted(self, url: str, path: re.Pattern[str] | None) -> bool:
        """Return whether a URL is of AWS, with a path if one is required, or begins as the application allows."""
        if url.startswith(self._prefixes):
            return True
        if not url.isascii() or not url.isprintable():
            return False
        parts = urlsplit(url)
        is_aws = parts.scheme == "https" and bool(_HOST.fullmatch(parts.netloc))
        return is_aws and (path is None or (bool(path.fullmatch(parts.path)) and not parts.query))


def signed_message(payload: Mapping[str, Any]) -> bytes:
    """Return the text that AWS signs: the name and the value of each signed field, each followed by a line break.

    Raises:
        VerificationError: A field is missing, or has a line break that only a message may have.
    """
    names = _SIGNED.get(text_field(payload, "Type"))
    if names is None:
        raise VerificationError("malformed", "Webhook message has an unknown Type")
    lines: list[str] = []
    for name in names:
        value = payload.get(name)
        if isinstance(value, str) and ("\n" not in value or name == "Message"):
            lines += (name, value)
        elif value is not None or name != "Subject":
            raise VerificationError("malformed", f"Webhook message has no {name} that can be signed")
    return ("\n".join(lines) + "\n").encode()


def _data(message: Any) -> Any:
    if not isinstance(message, str) or message.lstrip()[:1] not in ("{", "["):
        return message
    try:
        return parse_json(message.encode())
    except VerificationError:
        return message


def _checked_topics(topics: Sequence[str]) -> tuple[str, ...]:
    if isinstance(topics, str) or not topics:
        raise RegistrationError('topics is a list of ARNs, such as ["arn:aws:sns:eu-central-1:123456789012:orders"]')
    for topic in topics:
        if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
            raise RegistrationError(
                f"topics has {topic!r}, which is no ARN, such as arn:aws:sns:eu-central-1:123456789012:orders"
            )
    return tuple(topics)
