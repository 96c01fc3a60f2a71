"""Twitch's EventSub webhooks."""

import hmac
import json
from datetime import UTC, datetime

import pytest

from flask_convex_http import MissingSecretError, Twitch, VerificationError
from tests.webhooks.providers.contract import NOW, Headers, SenderContract

CHALLENGE = b'{"challenge": "abc", "subscription": {"type": "stream.online"}}'


class TestTwitch(SenderContract):
    """Deliveries by Twitch's documented rule."""

    build = Twitch
    body = b'{"subscription": {"type": "stream.online"}, "event": {"id": "9001"}}'
    event = ("m-1", "stream.online")
    needed = (
        "Twitch-Eventsub-Message-Signature",
        "Twitch-Eventsub-Message-Id",
        "Twitch-Eventsub-Message-Timestamp",
    )
    timed = True

    @staticmethod
    def sign(secret: str, body: bytes, at: int, message_id: str = "m-1") -> Headers:
        """Sign the id, the time with nanoseconds and the body."""
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
        signature = hmac.digest(secret.encode(), message_id.encode() + moment.encode() + body, "sha256").hex()
        values = (f"sha256={signature}", message_id, moment)
        return dict(zip(TestTwitch.needed, values, strict=True))

    def timestamps(self) -> tuple[str, ...]:
        """Return the headers that depend on the fraction of a second."""
        return (self.needed[0], self.needed[2])

    def test_tolerance_is_ten_minutes(self) -> None:
        """A signed time is accepted ten minutes early or late, as Twitch advises, and rejected later."""
        for at in (NOW - 599, NOW + 599):
            assert self.provider().verify(self.headers(), self.body, now=at * 1000).id == "m-1"
        assert self.rejection(self.headers(), at=NOW + 602) == "too-old"
        assert self.rejection(self.headers(), at=NOW - 602) == "too-new"

    def test_challenge_is_returned(self) -> None:
        """A signed challenge is a handshake, whatever its unsigned type says."""
        headers = self.headers(body=CHALLENGE) | {"Twitch-Eventsub-Message-Type": "notification"}
        provider = self.provider()
        assert provider.handshake(provider.verify(headers, CHALLENGE, now=NOW * 1000)) == "abc"

    def test_revocation_is_an_event(self) -> None:
        """A revoked subscription is an event whose data is the subscription, and no handshake."""
        body = json.dumps({"subscription": {"type": "stream.online", "status": "user_removed"}}).encode()
        event = self.provider().verify(self.headers(body=body), body, now=NOW * 1000)
        assert (event.type, event.data["status"]) == ("revocation", "user_removed")
        assert self.provider().handshake(event) is None

    def test_no_character_moves_between_the_signed_parts(self) -> None:
        """The border of the id, the time and the body cannot be moved under the same signature."""
        headers, (_, identity, time) = self.headers(), self.needed
        moved = (
            {identity: headers[identity] + headers[time][0], time: headers[time][1:]},
            {identity: headers[identity][:-1], time: headers[identity][-1] + headers[time]},
        )
        for change in moved:
            assert self.rejection(headers | change) == "malformed"
        assert self.rejection(headers | {time: headers[time][:-1]}, b"Z" + self.body) == "malformed"

    def test_secret_has_the_length_that_twitch_accepts(self) -> None:
        """A secret that Twitch does not accept is named with its length."""
        for secret in ("short", "x" * 101, "non-ascii-é-secret"):
            assert "10 to 100 ASCII" in Twitch(secret=secret).mistake(secret)
            with pytest.raises(MissingSecretError, match="10 to 100 ASCII"):
                Twitch(secret=secret).verify(self.headers(), self.body, now=NOW * 1000)

    def test_body_without_a_subscription_is_malformed(self) -> None:
        """Signed bodies that are no message of Twitch are malformed."""
        for body in (b"{}", b'{"subscription": 1}', b'{"subscription": {}, "event": 1}', b"[]"):
            with pytest.raises(VerificationError) as caught:
                self.provider().verify(self.headers(body=body), body, now=NOW * 1000)
            assert caught.value.reason == "malformed"
