"""The checks that the fuzzer runs on each input. They do not need the fuzzer.

Each input is used twice. As a delivery of its own it is rejected with a typed error, because the fuzzer does not know
the secret. As a change of a genuine delivery it is only accepted if the body is the signed one and the vendor's library
accepts it too.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from flask_convex_http.errors import VerificationError, VerificationUnavailableError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks import Delivery, Provider
from flask_convex_http.webhooks.configured import ConfiguredProvider
from flask_convex_http.webhooks.events import SignedRequest
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.senders import BODY, Headers, Sender
from tests.webhooks.senders import SENDERS as GENERIC_SENDERS
from tests.webhooks.test_agreement import VENDORS


@dataclass(frozen=True)
class Target:
    """A provider, and the delivery that the fuzzer changes.

    Attributes:
        provider: The provider.
        genuine: Signs the delivery at a time in milliseconds.
        needed: The required headers.
        signs_body: Whether the signature covers the bytes of the body.
        now: The time of the delivery, if it is not the current one.
    """

    provider: Provider
    genuine: Callable[[float], SignedRequest]
    needed: Sequence[str]
    signs_body: bool
    now: float | None = None

    @classmethod
    def of_sender(cls, sender: Sender) -> "Target":
        """Return the target of a sender of `senders.py`."""

        def genuine(now: float) -> SignedRequest:
            return SignedRequest(body=sender.body, headers=sender.headers(at=int(now // 1000)))

        return cls(sender.provider(), genuine, sender.needed, sender.signs_body)

    @classmethod
    def of_contract(cls, case: ProviderContract) -> "Target":
        """Return the target of a provider's contract."""
        provider = case.provider(case.secret)
        needed = [names[0] for names in provider.required_headers]
        signs_body = "body" in provider.profile.signed
        return cls(provider, partial(case.request, case.secret, case.body), needed, signs_body, case.now)

    def request(self) -> tuple[SignedRequest, float]:
        """Return a genuine delivery, and its time."""
        now = time.time() * 1000 if self.now is None else self.now
        return self.genuine(now), now


SENDERS = {name: Target.of_sender(sender) for name, sender in GENERIC_SENDERS.items()} | {
    name: Target.of_contract(case) for name, case in provider_senders().items()
}
_NAMES = sorted(SENDERS)
_REASONS = ("missing-header", "malformed", "too-old", "too-new", "no-match", "unavailable")
#: Headers that are read and are not signed.
_FURTHER = ("Content-Type", "X-GitHub-Delivery", "X-GitHub-Event", "X-Shopify-Webhook-Id", "X-Shopify-Topic")


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from: each kind of body for each provider, with no, all, and changed headers."""
    bodies = (
        BODY,
        b'{"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}',
        b'{"type": "url_verification", "challenge": "a"}',
        b"payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%221%22%7D",
        b"command=%2Fdeploy&text=&trigger_id=1",
    )
    for index, body in product(range(len(_NAMES)), bodies):
        yield bytes([index, 0]) + body
        for value in (b"1", b"@\x00 v1,AAAA ", b"@\x7f,v1=00"):
            yield bytes([index, 0xFF]) + b"\xff".join([value] * 8 + [body])
    for index, place in product(range(len(_NAMES)), (0, len(BODY) // 2, len(BODY))):
        yield bytes([index, 0]) + b"@" + bytes([place]) + b" "


def one_input(data: bytes) -> None:
    """Try one input on one provider.

    Args:
        data: The first byte selects the provider, the second the headers that follow. 0xFF separates the parts.
    """
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    parts = iter(data[2:].split(b"\xff"))
    target = SENDERS[name]
    headers = _headers(target, data[1], parts)
    body = b"\xff".join(parts)
    _check_forgery(target.provider, headers, body)
    _check_reading(target.provider, headers, body)
    _check_change(name, headers, body)


def _headers(sender: Target, chosen: int, parts: Iterator[bytes]) -> Headers:
    names = [*sender.needed, *_FURTHER]
    # A server decodes the bytes of headers as ISO-8859-1.
    return {name: next(parts, b"").decode("latin-1") for bit, name in enumerate(names) if chosen >> bit & 1}


def _check_forgery(provider: Provider, headers: Headers, body: bytes) -> None:
    """Check that a delivery made of the input alone is rejected."""
    reason = _verdict(lambda: provider.verify(headers, body))
    assert reason in _REASONS, f"{provider.name} accepted a forgery: {headers} {body!r}"


def _check_reading(provider: Provider, headers: Headers, body: bytes) -> None:
    """Check that a body, as if it had been signed, is read or rejected with a typed error."""

    def read() -> None:
        event = provider.event(headers, body, received_at=time.time() * 1000)
        # Both are stored as text, so UTF-8 must be able to encode them.
        assert event.id.encode()
        event.type.encode()
        provider.fingerprint(event)
        provider.handshake(event)

    assert _verdict(read) in ("accepted", "malformed", "missing-header")


def _check_change(name: str, headers: Headers, body: bytes) -> None:
    """Check that a genuine delivery changed by the input is only accepted with its own body."""
    target = SENDERS[name]
    request, now = target.request()
    good, genuine = dict(request.headers), request.body
    # The headers, the body or both may change.
    received = {**good, **{key: _changed(good.get(key, ""), value) for key, value in headers.items()}}
    sent = _changed(genuine.decode("latin-1"), body.decode("latin-1")).encode("latin-1") if body else genuine
    if _verdict(lambda: target.provider.verify_signature(received, sent, now=now, url=request.url)) != "accepted":
        return
    assert _is_same(target, genuine, sent) or not target.signs_body, f"{name} accepted another body: {sent!r}"
    assert name not in VENDORS or VENDORS[name](_strictly(name, received), sent), f"only {name} accepts {received}"


def _is_same(target: Target, genuine: bytes, sent: bytes) -> bool:
    """Return whether a body is the genuine one, or a form with the same fields for a sender that signs these."""
    provider = target.provider
    if sent == genuine or not isinstance(provider, ConfiguredProvider):
        return sent == genuine
    contents = {provider.signed_content(Delivery({}, body, 0)) for body in (sent, genuine)}
    return len(contents) == 1


def _changed(good: str, value: str) -> str:
    """Insert a value like "@7abc" at the place that its second character gives, or replace the genuine one."""
    if len(value) < 3 or value[0] != "@":
        return value
    place = ord(value[1]) % (len(good) + 1)
    return good[:place] + value[2:] + good[place:]


def _strictly(name: str, headers: Headers) -> Headers:
    """Undo the two documented ways in which this package is more lenient than the vendors."""
    if name == "slack":
        return {**headers, "X-Slack-Signature": headers["X-Slack-Signature"].lower()}
    key = next((key for key in headers if key in ("svix-signature", "webhook-signature")), None)
    if key is None:
        return headers
    good = SENDERS[name].genuine(1000.0 * int(headers[key.replace("signature", "timestamp")])).headers[key]
    return {**headers, key: " ".join(entry for entry in headers[key].split(" ") if entry == good)}


def _verdict(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except VerificationError as error:
        return error.reason
    except VerificationUnavailableError:  # it names a key that does not exist
        return "unavailable"
    return "accepted"
