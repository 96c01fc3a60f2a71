"""The contract of providers, as a class of tests that a test of your own provider derives from.

```python
class TestLamps(ProviderContract):
    body = b'{"id": "1", "type": "lamp.on"}'

    def provider(self, secret: str) -> Provider:
        return Lamps(secret=secret)
```

pytest runs each method for it. The deliveries are signed with the provider's own `sign_request`. Override `request` to
sign them with the sender's library, which proves more. With hypothesis installed, random headers and bodies are tried.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import SignedRequest, WebhookEvent
from flask_convex_http.webhooks.headers import URL

_REASONS = ("missing-header", "malformed", "too-old", "too-new", "no-match")
_SECOND, _MINUTE = 1000.0, 60_000.0
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
        fixes_url: Whether the provider was given the URL, so that it does not verify that of the request.
        unsigned_headers: The required headers that the signature does not cover.
        most_random: How many random deliveries are tried.
        now: The time of the deliveries in milliseconds since the epoch, for a body that has it. By default the current
            time.
    """

    body: bytes = b'{"id": "evt_1", "type": "order.paid", "data": {"name": "L\xc3\xa1mpara"}}'
    secret: str = "whsec_dGhlIHNlY3JldCBpbiB1c2UsIDI0IGJ5dGVzIQ=="
    other_secret: str = "whsec_YSBzZWNyZXQgb2YgYW5vdGhlciBzZW5kZXIuLg=="
    signing_secrets: Mapping[str, str] = {}
    url: str = "https://receiver.example/webhook?a=1"
    fixes_url: bool = False
    unsigned_headers: Sequence[str] = ()
    most_random: int = 100
    now: float | None = None

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
        now = self._time()
        event, again = self._accepted(now), self._accepted(now)
        assert event.id
        assert event.id == again.id
        assert event.body == self.body
        assert event.provider == self.provider(self.secret).name

    def test_wrong_secret_is_rejected(self) -> None:
        """A delivery that was signed with another secret is rejected with the sender's status."""
        provider, now = self.provider(self.secret), self._time()
        error = _rejection(provider, self.request(self.other_secret, self.body, now), now)
        assert error.status == provider.profile.rejected_status

    def test_altered_body_is_rejected(self) -> None:
        """A changed body is rejected if the profile says that the body is signed."""
        provider, now = self.provider(self.secret), self._time()
        if "body" in provider.profile.signed:
            request = self.request(self.secret, self.body, now)
            _rejection(provider, replace(request, body=self.body + b" "), now)
            _rejection(provider, replace(request, body=self.body[:-1]), now)

    def test_altered_url_is_rejected(self) -> None:
        """A changed URL is rejected if the profile says that the URL is signed."""
        provider, now = self.provider(self.secret), self._time()
        is_signed = "url" in provider.profile.signed and not self.fixes_url
        if is_signed and URL not in provider.credential_headers:
            request = self.request(self.secret, self.body, now)
            _rejection(provider, replace(request, url=request.url.replace("a", "b")), now)

    def test_altered_header_is_rejected(self) -> None:
        """A change of any required header rejects the delivery, unless the header is not signed."""
        provider, now = self.provider(self.secret), self._time()
        request = self.request(self.secret, self.body, now)
        for name in self._signed_headers(provider, request):
            value = request.headers[name]
            changed = value[:-1] + ("0" if value[-1] != "0" else "1")
            _rejection(provider, replace(request, headers={**request.headers, name: changed}), now)

    def test_missing_header_is_rejected(self) -> None:
        """A delivery without a required header is rejected as such, also if it is empty, or if all are missing."""
        provider, now = self.provider(self.secret), self._time()
        request = self.request(self.secret, self.body, now)
        for names in provider.required_headers:
            lowered = {name.lower() for name in names}
            left = {name: value for name, value in request.headers.items() if name.lower() not in lowered}
            for without in (left, {**left, names[0]: " "}):
                assert _rejection(provider, replace(request, headers=without), now).reason == "missing-header"
        if provider.required_headers:
            _rejection(provider, replace(request, headers={}), now)

    def test_header_names_match_in_any_case(self) -> None:
        """The case of a header's name does not matter."""
        provider, now = self.provider(self.secret), self._time()
        request = self.request(self.secret, self.body, now)
        upper = {name.upper(): value for name, value in request.headers.items()}
        assert isinstance(_verdict(provider, replace(request, headers=upper), now), WebhookEvent)

    def test_garbage_is_rejected(self) -> None:
        """Whatever anyone sends in a header or as a body is rejected with a typed error."""
        provider, now = self.provider(self.secret), self._time()
        request = self.request(self.secret, self.body, now)
        for value in _GARBAGE:
            for name in self._signed_headers(provider, request):
                _rejection(provider, replace(request, headers={**request.headers, name: value}), now)
        for body in _BODIES:
            result = _verdict(provider, replace(request, body=body), now)
            assert isinstance(result, WebhookEvent | VerificationError)

    def test_signed_nonsense_is_an_event_or_rejected(self) -> None:
        """A signed body that the sender never sends is an event with an id, or it is rejected as malformed."""
        provider, now = self.provider(self.secret), self._time()
        for body in _BODIES:
            for request in self._signed(body, now):
                result = _verdict(provider, request, now)
                assert isinstance(result, VerificationError) or result.id

    def test_random_input_is_rejected(self) -> None:
        """Random headers and bodies are rejected, and none changes what is signed. This needs hypothesis."""
        hypothesis = pytest.importorskip("hypothesis")
        st = pytest.importorskip("hypothesis.strategies")
        provider, now = self.provider(self.secret), self._time()
        genuine = self.request(self.secret, self.body, now)
        names = [*(names[0] for names in provider.required_headers), "Content-Type"]
        signed = self._signed_headers(provider, genuine)

        def check(body: bytes, garbage: dict[str, str]) -> None:
            for request in (*self._signed(body, now), replace(genuine, body=body), genuine):
                sent = replace(request, headers={**request.headers, **garbage})
                result = _verdict(provider, sent, now)
                if isinstance(result, VerificationError):
                    assert result.reason in _REASONS
                    assert self.secret not in str(result)
                else:
                    assert all(sent.headers[name] == request.headers[name] for name in signed), "A forgery is accepted"

        given = hypothesis.given(st.binary(max_size=40), st.dictionaries(st.sampled_from(names), st.text(max_size=40)))
        hypothesis.settings(max_examples=self.most_random, deadline=None, database=None)(given(check))()

    def test_early_and_late_deliveries_are_rejected(self) -> None:
        """A signed time is accepted within the tolerance, before and after now, and rejected outside it."""
        provider, now = self.provider(self.secret), self._time()
        if not provider.signs_time:
            return
        request = self.request(self.secret, self.body, now)
        for age, reason in ((provider.tolerance.past, "too-old"), (-provider.tolerance.future, "too-new")):
            inside, outside = (now + age + side * (1 if age > 0 else -1) for side in (-_SECOND, 2 * _SECOND))
            assert isinstance(_verdict(provider, request, inside), WebhookEvent)
            assert _rejection(provider, request, outside).reason == reason

    def test_duplicate_has_the_same_id(self) -> None:
        """A delivery that is repeated, and one that is signed again later, have the same id and the same content."""
        provider, now = self.provider(self.secret), self._time()
        first = self.request(self.secret, self.body, now)
        later = self.request(self.secret, self.body, now + _MINUTE)
        results = [_verdict(provider, *each) for each in ((first, now), (first, now + _SECOND), (later, now + _MINUTE))]
        events = [result for result in results if isinstance(result, WebhookEvent)]
        assert len(events) == len(results)
        assert len({event.id for event in events}) == 1
        assert len({provider.fingerprint(event) for event in events}) == 1

    def test_rotated_secrets_are_both_accepted(self) -> None:
        """While a secret is rotated both verify, and the event has the label of the one that matched."""
        if not self.provider(self.secret).has_secrets:
            return
        provider, now = self.provider(self.secret).with_secrets([self.other_secret, self.secret]), self._time()
        for secret, label in ((self.other_secret, "secret 1"), (self.secret, "secret 2")):
            result = _verdict(provider, self.request(secret, self.body, now), now)
            assert isinstance(result, WebhookEvent), f"A delivery signed with {label} is rejected: {result}"
            assert result.secret_label == label

    def test_stored_delivery_verifies_again(self) -> None:
        """What is stored of a delivery gives the same event, and verifies as of the time when it was received.

        A header that holds the secret itself is not stored, so a delivery with one is not verified again.
        """
        provider, event = self.provider(self.secret), self._accepted()
        read = provider.event(event.headers, event.body, received_at=event.received_at, secret_label=event.secret_label)
        assert read == event
        assert not provider.credential_headers & event.headers.keys()
        if not provider.credential_headers:
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

    def _time(self) -> float:
        return float(int(time.time()) * 1000) if self.now is None else self.now

    def _signed(self, body: bytes, now: float) -> list[SignedRequest]:
        """Return a signed request with a body, or nothing if the sender cannot sign that body."""
        try:
            return [self.request(self.secret, body, now)]
        except (VerificationError, ValueError, TypeError, LookupError):
            return []

    def _signed_headers(self, provider: Provider, request: SignedRequest) -> list[str]:
        """Return the names of the required headers that the signature covers, as the request has them."""
        wanted = {name.lower() for names in provider.required_headers for name in names}
        unsigned = {name.lower() for name in self.unsigned_headers}
        return [name for name in request.headers if name.lower() in wanted - unsigned]

    def _accepted(self, at: float | None = None) -> WebhookEvent:
        now = self._time() if at is None else at
        result = _verdict(self.provider(self.secret), self.request(self.secret, self.body, now), now)
        assert isinstance(result, WebhookEvent), f"A genuine delivery is rejected: {result}"
        return result


def _verdict(provider: Provider, request: SignedRequest, now: float) -> WebhookEvent | VerificationError:
    return provider.verdict(request.headers, request.body, now=now, method=request.method, url=request.url)


def _rejection(provider: Provider, request: SignedRequest, now: float) -> VerificationError:
    result = _verdict(provider, request, now)
    assert isinstance(result, VerificationError), "A forgery is accepted"
    assert result.reason in _REASONS
    return result
