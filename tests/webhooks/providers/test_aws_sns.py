"""Amazon SNS."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from flask_convex_http import AwsSns, Provider, RegistrationError, VerificationError, VerificationUnavailableError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks import remote
from flask_convex_http.webhooks.events import SignedRequest
from tests.lengths import examples
from tests.webhooks.providers.certificates import Server, certificate, rsa_signature, serving, serving_from_memory

MEMORY = "https://certificates.example"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:orders"
ORDER = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Server]:
    with serving(
        {"/a.pem": certificate("sns"), "/old.pem": certificate("sns", days=-1), "/?confirm": b"<ok/>"}
    ) as server:
        yield server


@pytest.fixture(name="sns")
def _sns(server: Server) -> AwsSns:
    return AwsSns(topics=[TOPIC], certificate_urls=[server.url])


class TestAwsSns(ProviderContract):
    """The contract, with a certificate that was fetched before. The secrets are the names of keys."""

    body = b'{"order": 42}'
    secret, other_secret = "sns", "forger"
    most_random = examples(100, sample=5)

    def provider(self, secret: str) -> Provider:
        """Return the provider, which has no secret."""
        sns = AwsSns(topics=[TOPIC], certificate_urls=[f"{MEMORY}/"])
        sns._certificates = serving_from_memory({f"{MEMORY}/a.pem": certificate("sns")})
        return sns

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Put the body into a message that is signed by a key."""
        return SignedRequest(body=encoded(message(Server(url=f"{MEMORY}/"), key=secret, Message=body.decode())))

    def test_genuine_delivery_is_accepted(self) -> None:
        """A genuine message is an event with the text as its data."""
        event = self.provider("").verify({}, self.request(self.secret, self.body, 0).body)
        assert (event.id, event.data, event.provider) == ("m-1", {"order": 42}, "aws_sns")

    def test_secret_is_not_shown(self) -> None:
        """There is no secret."""
        assert not self.provider("").has_secrets


def message(server: Server, *, key: str = "sns", version: str = "2", **fields: Any) -> dict[str, Any]:
    """Return a message that is signed by AWS's documented rule."""
    made = {
        "Type": "Notification",
        "MessageId": "m-1",
        "TopicArn": TOPIC,
        "Message": '{"order": 42}',
        "Timestamp": "2025-06-15T15:06:40.000Z",
        "SignatureVersion": version,
        "SigningCertURL": f"{server.url}a.pem",
        **fields,
    }
    text = "".join(f"{name}\n{made[name]}\n" for name in ORDER if name in made)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    return {**made, "Signature": base64.b64encode(rsa_signature(key, text.encode(), digest)).decode()}


def encoded(fields: dict[str, Any]) -> bytes:
    """Return a body."""
    return json.dumps(fields).encode()


def rejection(sns: AwsSns, fields: dict[str, Any]) -> str:
    """Return why a message is rejected."""
    with pytest.raises(VerificationError) as caught:
        sns.verify({}, encoded(fields))
    return caught.value.reason


@pytest.mark.parametrize("version", ["1", "2"])
def test_message_is_an_event(server: Server, sns: AwsSns, version: str) -> None:
    """A message with a signature of either version is an event with the decoded JSON in it."""
    event = sns.verify({}, encoded(message(server, version=version, Subject="Hi")))
    assert (event.id, event.type, event.data) == ("m-1", "Notification", {"order": 42})
    assert sns.event(event.headers, event.body, received_at=event.received_at, secret_label="aws_sns") == event


def test_text_stays_text(server: Server, sns: AwsSns) -> None:
    """A message that is no JSON is a text."""
    for text in ("Hello\nworld", "{no json", "42"):
        assert sns.verify({}, encoded(message(server, Message=text))).data == text


def test_certificate_is_fetched_once(server: Server, sns: AwsSns) -> None:
    """The certificate is fetched for the first message, and not for a second one or a forgery."""
    server.requests.clear()
    for _ in range(2):
        sns.verify({}, encoded(message(server)))
    rejection(sns, message(server, key="forger"))
    assert server.requests == ["/a.pem"]


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Type", "Subject"])
def test_altered_field_is_rejected(server: Server, sns: AwsSns, name: str) -> None:
    """A change of any signed field is rejected."""
    assert rejection(sns, message(server, Subject="Hi") | {name: "other"}) in ("no-match", "malformed")


def test_other_topic_is_rejected_without_a_fetch(server: Server, sns: AwsSns) -> None:
    """A genuine message of another topic is rejected, because anyone can create a topic."""
    server.requests.clear()
    assert rejection(sns, message(server, TopicArn=TOPIC + "2")) == "no-match"
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://attacker.example/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem",
        "https://sns.eu-central-1.amazonaws.com.attacker.example/SimpleNotificationService-" + "a" * 32 + ".pem",
        "https://sns.eu-central-1.amazonaws.com@attacker.example/SimpleNotificationService-" + "a" * 32 + ".pem",
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-" + "a" * 32 + ".pem",
        "https://sns.eu-central-1.amazonaws.com/other.pem",
        "https://s3.amazonaws.com/SimpleNotificationService-" + "a" * 32 + ".pem",
        "file:///etc/passwd",
        "https://[",
    ],
)
def test_certificate_of_another_host_is_not_fetched(server: Server, sns: AwsSns, url: str) -> None:
    """A certificate that is not at the place where AWS publishes them is not fetched."""
    assert rejection(sns, message(server) | {"SigningCertURL": url}) in ("no-match", "malformed")


def test_border_of_the_signed_fields_is_fixed(server: Server, sns: AwsSns) -> None:
    """Line breaks in a message cannot move the border to the next field under the same signature."""
    genuine = message(server, Message="a\nMessageId\nforged")
    assert sns.verify({}, encoded(genuine)).id == "m-1"
    moved = {**genuine, "Message": "a", "MessageId": "forged\nMessageId\nm-1"}
    assert rejection(sns, moved) == "malformed"


def test_subscription_is_confirmed(server: Server, sns: AwsSns) -> None:
    """A signed confirmation of AWS is a handshake that opens its URL, and a notification is none."""
    server.requests.clear()
    fields = {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": f"{server.url}?confirm"}
    assert sns.handshake(sns.verify({}, encoded(message(server, **fields)))) == ""
    assert "/?confirm" in server.requests
    assert sns.handshake(sns.verify({}, encoded(message(server)))) is None


def test_confirmation_of_another_host_is_not_opened(server: Server, sns: AwsSns) -> None:
    """A confirmation whose URL is not of AWS, or does not respond, is a 503."""
    for url in ("https://attacker.example/", f"{server.url}gone"):
        fields = {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": url}
        event = sns.verify({}, encoded(message(server, **fields)))
        with pytest.raises(VerificationUnavailableError):
            sns.handshake(event)


def test_certificate_that_is_gone_or_expired_is_a_503(server: Server, sns: AwsSns) -> None:
    """While no valid certificate can be fetched, the delivery is neither accepted nor rejected."""
    for name in ("gone.pem", "old.pem", "?confirm"):
        with pytest.raises(VerificationUnavailableError):
            sns.verify({}, encoded(message(server, SigningCertURL=server.url + name)))


def test_fetches_are_limited(server: Server, sns: AwsSns) -> None:
    """Forgeries that name new certificates cause a few fetches, and a known certificate stays usable."""
    sns.verify({}, encoded(message(server)))
    server.requests.clear()
    for number in range(2 * remote.MOST_FETCHES):
        with pytest.raises(VerificationUnavailableError):
            sns.verify({}, encoded(message(server, SigningCertURL=f"{server.url}{number}.pem")))
    assert len(server.requests) == remote.MOST_FETCHES - 1
    assert sns.verify({}, encoded(message(server))).id == "m-1"


def test_garbage_is_rejected(sns: AwsSns) -> None:
    """Bodies that are no message of SNS are malformed."""
    for fields in ({}, {"TopicArn": TOPIC}, {"TopicArn": TOPIC, "SignatureVersion": "3"}, {"TopicArn": 1}):
        assert rejection(sns, fields) == "malformed"


@pytest.mark.parametrize("topics", [[], "arn:aws:sns:eu-central-1:123456789012:orders", ["orders"], [TOPIC + "\n"]])
def test_topics_are_arns(topics: Any) -> None:
    """Anything but a list of ARNs is refused."""
    with pytest.raises(RegistrationError, match="topics"):
        AwsSns(topics=topics)


@pytest.mark.parametrize("urls", ["http://localhost:4566/", ["http://example.com/"], ["http://localhost:4566"], ["x"]])
def test_further_urls_are_whole_hosts(urls: Any) -> None:
    """A further beginning of URLs is HTTPS or on loopback, and ends after its host."""
    with pytest.raises(RegistrationError, match="certificate_urls"):
        AwsSns(topics=[TOPIC], certificate_urls=urls)
