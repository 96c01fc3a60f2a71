"""The contract of providers, as a class of tests that a test of your own provider derives from.

```python
class TestLamps(ProviderContract):
    body = b'{"id": "1", "type": "lamp.on"}'

    def provider(self, secret: str) -> Provider:
        return Lamps(secret=secret)
```

pytest runs each method for it. The deliveries are signed with the provider's own `sign_request`. Override
`request` to sign them with the sender's library or to return a recorded delivery, which proves more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import SignedRequest, WebhookEvent
from flask_convex_http.webhooks.headers import URL

_REASONS = ("missing-header", "malformed", "too-old", "too-new", "no-match")
_DAY = 86_400_000.0
_GARBAGE = (
    *("", " ", "x", "=", ",", "-1", "v1=", "t=1,v1=00", "sha256=", "Bearer x"),
    *("\udcff", "\u00e9", "\x00", "0" * 5000),
)
_BODIES = (b"", b"{", b"[]", b"1", b"null", b"\xff\xfe", b'{"id": 5}', b"a=1&a=2", b"[" * 10_000, b'[{"id": null}]')


class ProviderContract:
    """Tests that every provider must pass. Derive a class of tests from it.

    Attributes:
        body: The body of a genuine event.
        secret: A secret.
        other_secret: Another secret of the same form.
        signing_secrets: The private key of each secret that is a public one.
        url: The URL that the sender sends to.
    """

    body: bytes = b'{"id": "evt_1", "type": "order.paid", "data": {"name": "L\xc3\xa1mpara"}}'
    secret: str = "whsec_dGhlIHNlY3JldCBpbiB1c2UsIDI0IGJ5dGVzIQ=="
    other_secret: str = "whsec_YSBzZWNyZXQgb2YgYW5vdGhlciBzZW5kZXIuLg=="
    signing_secrets: Mapping[str, str] = {}
    url: str = "https://receiver.example/webhook?a=1"

    def provider(self, secret: str) -> Provider:
        """Return the provider with a secret."""
        raise NotImplementedError("define provider(self, secret), which returns your provider")

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Return a delivery as the sender sends it.

        Args:
            secret: The secret.
            body: The body.
            now: The time in milliseconds since the epoch.
        """
        return self.provider(secret).sign_request(
            SignedRequest(body=body, url=self.url),
            secret=self.signing_secrets.get(secret, secret),
            event_id="evt_1",
            event_type="order.paid",
            now=now,
        )

    # --- tests -------------------------------------------------------------------------------------------------------

    def test_genuine_delivery_is_accepted(self) -> None:
        """A genuine delivery is an event with an id, which a retry has too."""
        event, again = self._accepted(), self._accepted()
        assert event.id
        assert event.id == again.id
        assert event.body == self.body
        assert event.provider == self.provider(self.secret).name

    def test_wrong_secret_is_rejected(self) -> None:
        """A delivery that was signed with another secret is rejected with the sender's status."""
        provider, now = self.provider(self.secret), _now()
        error = _rejection(provider, self.request(self.other_secret, self.body, now), now)
        assert error.status == provider.profile.rejected_status

    def test_altered_body_is_rejected(self) -> None:
        """A changed body is rejected if the profile says that the body is signed."""
        provider, now = self.provider(self.secret), _now()
        if "body" in provider.profile.signed:
            request = self.request(self.secret, self.body, now)
            _rejection(provider, replace(request, body=self.body + b" "), now)
            _rejection(provider, replace(request, body=self.body[:-1]), now)

    def test_altered_url_is_rejected(self) -> None:
        """A changed URL is rejected if the profile says that the URL is signed."""
        provider, now = self.provider(self.secret), _now()
        if "url" in provider.profile.signed and URL not in provider.credential_headers:
            request = self.request(self.secret, self.body, now)
            _rejection(provider, replace(request, url=request.url.replace("a", "b")), now)

    def test_missing_header_is_rejected(self) -> None:
        """A delivery without a required header is rejected as such, and without any header at all."""
        provider, now = self.provider(self.secret), _now()
        request = self.request(self.secret, self.body, now)
        for names in provider.required_headers:
            lowered = {name.lower() for name in names}
            left = {name: value for name, value in request.headers.items() if name.lower() not in lowered}
            assert _rejection(provider, replace(request, headers=left), now).reason == "missing-header"
        if provider.required_headers:
            _rejection(provider, replace(request, headers={}), now)

    def test_header_names_match_in_any_case(self) -> None:
        """The case of a header's name does not matter."""
        provider, now = self.provider(self.secret), _now()
        request = self.request(self.secret, self.body, now)
        upper = {name.upper(): value for name, value in request.headers.items()}
        assert isinstance(_verdict(provider, replace(request, headers=upper), now), WebhookEvent)

    def test_garbage_is_rejected(self) -> None:
        """Whatever anyone sends in a header or as a body is rejected with a typed error."""
        provider, now = self.provider(self.secret), _now()
        request = self.request(self.secret, self.body, now)
        for value in _GARBAGE:
            for name in [names[0] for names in provider.required_headers]:
                _rejection(provider, replace(request, headers={**request.headers, name: value}), now)
        for body in _BODIES:
            result = _verdict(provider, replace(request, body=body), now)
            assert isinstance(result, WebhookEvent | VerificationError)

    def test_signed_nonsense_is_an_event_or_rejected(self) -> None:
        """A signed body that the sender never sends is an event with an id, or it is rejected as malformed."""
        provider, now = self.provider(self.secret), _now()
        for body in _BODIES:
            try:
                request = self.request(self.secret, body, now)
            except (VerificationError, UnicodeDecodeError):  # the sender cannot sign it
                continue
            result = _verdict(provider, request, now)
            assert isinstance(result, VerificationError) or result.id

    def test_old_and_future_deliveries_are_rejected(self) -> None:
        """A delivery whose signed time is a day away is rejected, if the sender signs the time."""
        provider, now = self.provider(self.secret), _now()
        if provider.signs_time:
            assert _rejection(provider, self.request(self.secret, self.body, now - _DAY), now).reason == "too-old"
            assert _rejection(provider, self.request(self.secret, self.body, now + _DAY), now).reason == "too-new"

    def test_stored_delivery_verifies_again(self) -> None:
        """What is stored of a delivery gives the same event, and verifies as of the time when it was received."""
        provider, event = self.provider(self.secret), self._accepted()
        read = provider.event(event.headers, event.body, received_at=event.received_at, secret_label=event.secret_label)
        assert read == event
        assert provider.verify(event.headers, event.body, now=event.received_at) == event

    def test_elements_of_a_batch_have_ids(self) -> None:
        """Each element of a batch has an id, the same when the batch is sent again or its element is read again."""
        provider, event = self.provider(self.secret), self._accepted()
        parts = provider.split(event)
        assert [part.id for part in parts] == [part.id for part in provider.split(event)]
        for part in parts:
            stored = provider.event(part.headers, part.body, received_at=part.received_at)
            assert (stored.id, stored.type, stored.data) == (part.id, part.type, part.data)

    def test_real_event_is_no_handshake(self) -> None:
        """A real event reaches the handler."""
        assert self.provider(self.secret).handshake(self._accepted()) is None

    def test_profile_is_plausible(self) -> None:
        """The profile says how long the sender waits and for how long it sends a delivery again."""
        profile = self.provider(self.secret).profile
        assert 0 < profile.timeout.total_seconds() <= 120
        assert profile.window.total_seconds() >= 0
        assert 200 <= profile.stop_status < 300
        assert 400 <= profile.rejected_status < 500

    def test_secret_is_not_shown(self) -> None:
        """The repr of the provider does not show the secret."""
        assert self.secret not in repr(self.provider(self.secret))

    def _accepted(self) -> WebhookEvent:
        now = _now()
        result = _verdict(self.provider(self.secret), self.request(self.secret, self.body, now), now)
        assert isinstance(result, WebhookEvent), f"A genuine delivery is rejected: {result}"
        return result


def _now() -> float:
    return float(int(time.time()) * 1000)


def _verdict(provider: Provider, request: SignedRequest, now: float) -> WebhookEvent | VerificationError:
    return provider.verdict(request.headers, request.body, now=now, method=request.method, url=request.url)


def _rejection(provider: Provider, request: SignedRequest, now: float) -> VerificationError:
    result = _verdict(provider, request, now)
    assert isinstance(result, VerificationError), "A forgery is accepted"
    assert result.reason in _REASONS
    return result
