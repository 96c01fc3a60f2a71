"""What the fuzzer of webhooks does with the bytes it makes up; it needs no fuzzer itself.

Two things are tried with each input. One is a delivery made of nothing but the input: whatever it is, it is refused
with a typed error, because the fuzzer does not know the secret. The other is a genuine delivery that the input changes:
what is accepted has the very body that was signed, and the vendor's library accepts it too.
"""

import time
from collections.abc import Callable, Iterator
from itertools import product

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Provider
from tests.webhooks.senders import BODY, SENDERS, Headers, Sender
from tests.webhooks.test_agreement import VENDORS

_PROVIDERS = {name: sender.provider() for name, sender in SENDERS.items()}
_NAMES = sorted(SENDERS)
_REASONS = ("missing-header", "malformed", "too-old", "too-new", "no-match")
#: Headers that are read and are not signed.
_FURTHER = ("Content-Type", "X-GitHub-Delivery", "X-GitHub-Event", "X-Shopify-Webhook-Id", "X-Shopify-Topic")


def seeds() -> Iterator[bytes]:
    """Inputs to start from: bodies of every kind for each provider; with no headers, with all, with changed ones."""
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
        data: The first byte chooses the provider, the second the headers that follow; parts are separated by 0xFF.
    """
    if len(data) < 2:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    parts = iter(data[2:].split(b"\xff"))
    headers = _headers(SENDERS[name], data[1], parts)
    body = b"\xff".join(parts)
    _is_refused(_PROVIDERS[name], headers, body)
    _is_read_or_refused(_PROVIDERS[name], headers, body)
    _is_no_forgery(name, headers, body)


def _headers(sender: Sender, chosen: int, parts: Iterator[bytes]) -> Headers:
    names = [*sender.needed, *_FURTHER]
    # As a server hands headers on: bytes as ISO-8859-1.
    return {name: next(parts, b"").decode("latin-1") for bit, name in enumerate(names) if chosen >> bit & 1}


def _is_refused(provider: Provider, headers: Headers, body: bytes) -> None:
    reason = _verdict(lambda: provider.verify(headers, body))
    assert reason in _REASONS, f"{provider.name} accepted a forgery: {headers} {body!r}"


def _is_read_or_refused(provider: Provider, headers: Headers, body: bytes) -> None:
    """Bodies that were signed are read by what follows the verification, so that must refuse typed, too."""

    def read() -> None:
        event = provider.event(headers, body, received_at=time.time() * 1000)
        # Both become text in the database: bytes of UTF-8.
        assert event.id.encode()
        event.type.encode()
        provider.fingerprint(event)
        provider.handshake(event)

    assert _verdict(read) in ("accepted", "malformed", "missing-header")


def _is_no_forgery(name: str, headers: Headers, body: bytes) -> None:
    sender = SENDERS[name]
    good = sender.headers(at=int(time.time()))
    # A change may be one of headers, one of the body, or both.
    received = {**good, **{key: _changed(good.get(key, ""), value) for key, value in headers.items()}}
    sent = _changed(BODY.decode("latin-1"), body.decode("latin-1")).encode("latin-1") if body else BODY
    if _verdict(lambda: _PROVIDERS[name].verify_signature(received, sent)) != "accepted":
        return
    assert sent == BODY, f"{name} accepted another body: {received} {sent!r}"
    assert name not in VENDORS or VENDORS[name](_as_written(name, received), sent), f"only {name} accepts {received}"


def _changed(good: str, value: str) -> str:
    """Insert a value like "@7abc" into the genuine one, at a place that its second character says; else replace it."""
    if len(value) < 3 or value[0] != "@":
        return value
    place = ord(value[1]) % (len(good) + 1)
    return good[:place] + value[2:] + good[place:]


def _as_written(name: str, headers: Headers) -> Headers:
    """Take back the two things in which this library is the more lenient one, as the documentation lists them."""
    if name == "slack":
        return {**headers, "X-Slack-Signature": headers["X-Slack-Signature"].lower()}
    key = next((key for key in headers if key in ("svix-signature", "webhook-signature")), None)
    if key is None:
        return headers
    good = SENDERS[name].headers(at=int(headers[key.replace("signature", "timestamp")]))[key]
    return {**headers, key: " ".join(entry for entry in headers[key].split(" ") if entry == good)}


def _verdict(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except VerificationError as error:
        return error.reason
    return "accepted"
