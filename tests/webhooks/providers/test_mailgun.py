"""Mailgun's webhooks."""

import hmac
import json
from dataclasses import replace

import pytest

from flask_convex_http import Mailgun, Provider, VerificationError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types

NOW = 1_750_000_000_000.0
KEY = "key-in-use"


def signed(event: object, *, secret: str = KEY, time: int | str = 1_750_000_000, token: str = "a" * 50) -> bytes:
    """Return a body by Mailgun's documented rule."""
    signature = hmac.digest(secret.encode(), f"{time}{token}".encode(), "sha256").hex()
    return json.dumps(
        {"signature": {"timestamp": time, "token": token, "signature": signature}, "event-data": event}
    ).encode()


class TestMailgun(ProviderContract):
    """Deliveries by Mailgun's documented rule."""

    body = b'{"event-data": {"id": "e-1", "event": "delivered"}}'
    secret, other_secret = KEY, "key-of-another"

    def provider(self, secret: str) -> Provider:
        """Return the provider."""
        return Mailgun(secret=secret)

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Sign the time and a token, in the body."""
        return SignedRequest(body=signed(json.loads(body)["event-data"], secret=secret, time=str(int(now // 1000))))

    def test_genuine_delivery_is_accepted(self) -> None:
        """A genuine delivery is an event with the id and the type of its event-data."""
        for time in (1_750_000_000, "1750000000"):
            event = Mailgun(secret=KEY).verify({}, signed({"id": "e-1", "event": "opened"}, time=time), now=NOW)
            assert (event.id, event.type, event.data) == ("e-1", "opened", {"id": "e-1", "event": "opened"})

    def test_signed_nonsense_is_an_event_or_rejected(self) -> None:
        """A signed body without an event is malformed."""
        events: list[object] = [None, [], {}, {"id": 1, "event": "opened"}, {"id": "1"}]
        for event in events:
            assert self.reason(signed(event)) == "malformed"

    def test_border_of_time_and_token_is_fixed(self) -> None:
        """A digit cannot move between the time and the token, which nothing separates."""
        event = {"id": "e-1", "event": "opened"}
        body = json.loads(signed(event, token="1" * 50))
        for time, token in (("17500000001", "1" * 49), ("175000000", "0" + "1" * 50)):
            body["signature"] |= {"timestamp": time, "token": token}
            assert self.reason(json.dumps(body).encode()) == "malformed"

    def test_retries_of_hours_are_accepted(self) -> None:
        """A delivery may be as old as Mailgun's retries, and not older."""
        body = signed({"id": "e-1", "event": "opened"})
        assert Mailgun(secret=KEY).verify({}, body, now=NOW + 8.9 * 3_600_000).id == "e-1"
        assert self.reason(body, NOW + 9.1 * 3_600_000) == "too-old"

    def test_fingerprint_is_of_the_token(self) -> None:
        """With `dedupe="content"` a replay of the token with another event is a duplicate."""
        provider = Mailgun(secret=KEY)
        events = [provider.verify({}, signed({"id": id, "event": "opened"}), now=NOW) for id in ("e-1", "e-2")]
        assert len({provider.fingerprint(event) for event in events}) == 1
        other = provider.verify({}, signed({"id": "e-1", "event": "opened"}, token="b" * 50), now=NOW)
        assert provider.fingerprint(other) != provider.fingerprint(events[0])

    def test_samples_are_events_of_the_sender(self) -> None:
        """Each sample event is signed in its body and verifies."""
        for name in event_types("mailgun"):
            (sample,) = make_deliveries(Mailgun(secret=KEY), name, Faults(), now=NOW)
            event = Mailgun(secret=KEY).verify(sample.headers, sample.body, now=NOW)
            assert (event.id, event.type) == (sample.id, name)

    def reason(self, body: bytes, now: float = NOW) -> str:
        """Return why a body is rejected."""
        with pytest.raises(VerificationError) as caught:
            Mailgun(secret=KEY).verify({}, body, now=now)
        assert caught.value.status in (400, 406)
        return caught.value.reason


def test_headers_alone_do_not_sign() -> None:
    """A body without a signature is rejected."""
    request = SignedRequest(body=TestMailgun.body)
    with pytest.raises(VerificationError, match=r"signature\.timestamp"):
        Mailgun(secret=KEY).verify({}, replace(request).body, now=NOW)
