"""The contract of the senders in this folder: the public one, with deliveries that are signed by the vendor's rule.

The public contract verifies what is signed now. What these tests add is compared with the vendor's documentation: the
id and the type of an event, the headers of a signature, and the sample events.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from flask_convex_http.errors import VerificationError
from flask_convex_http.testing.provider_suite import ProviderContract
from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.lengths import examples

NOW = 1_750_000_000

Headers = dict[str, str]


class SenderContract(ProviderContract):
    """Tests of one sender.

    Attributes:
        build: The provider's class, or a function that takes `secret` and creates it.
        event: The id and the type of the event in the body.
        needed: The required headers.
        timed: Whether the sender signs a time.
        signs_body: Whether the sender signs the body.
    """

    build: Callable[..., Provider]
    event: ClassVar[tuple[str, str]]
    needed: ClassVar[tuple[str, ...]]
    timed: ClassVar[bool] = False
    signs_body: ClassVar[bool] = True
    secret = "the secret in use"
    other_secret = "the secret of another"
    most_random = examples(100, sample=5)

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the headers of a delivery by the vendor's rule. To be defined."""
        raise NotImplementedError

    def provider(self, secret: Any = None, **options: Any) -> Provider:
        """Create the provider, by default with the secret in use."""
        return vars(type(self))["build"](secret=secret or self.secret, **options)  # type: ignore[no-any-return]

    def request(self, secret: str, body: bytes, now: float) -> SignedRequest:
        """Return a delivery by the vendor's rule."""
        headers = self.headers(secret=secret, body=body, at=int(now // 1000))
        return SignedRequest(body=body, headers=headers, url=self.url)

    def headers(self, *, secret: str | None = None, body: bytes | None = None, at: int = NOW) -> Headers:
        """Return the headers of a genuine delivery."""
        signed = self.sign(secret or self.secret, self.body if body is None else body, at)
        return {"Content-Type": "application/json", **signed}

    def signing_secret(self, secret: str) -> str:
        """Return the sender's secret: a private key where the receiver has a public one."""
        return secret

    def rejection(self, headers: Headers, body: bytes | None = None, at: float = NOW) -> str:
        """Return the reason for which a delivery is rejected."""
        provider = self.provider()
        with pytest.raises(VerificationError) as caught:
            provider.verify(headers, self.body if body is None else body, now=at * 1000)
        return caught.value.reason

    def rejection_of_body(self, body: bytes) -> str:
        """Return the reason for which a body is rejected after its signature was verified."""
        return self.rejection(self.headers(body=body), body)

    def timestamps(self) -> tuple[str, ...]:
        """Return the headers that `sign` writes otherwise than these tests, with other fractions of a second."""
        return ()

    def test_event_has_the_documented_id_and_type(self) -> None:
        """The id and the type of an event, and the required headers, are those that the vendor documents."""
        provider = self.provider()
        event = provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert ((event.id, event.type), event.secret_label) == (self.event, "secret 1")
        assert provider.name not in ("hmac", "svix", "standard")
        assert (provider.signs_time, provider.profile.source[:8]) == (self.timed, "https://")
        assert self.signs_body or "body" not in provider.profile.signed
        for name in self.needed:
            others = {key: value for key, value in self.headers().items() if key != name}
            assert self.rejection(others) == "missing-header"

    def test_own_signature_is_the_senders(self) -> None:
        """`sign` makes the headers of the vendor's rule."""
        event_id, event_type = self.event
        own = self.provider().sign(
            self.body,
            secret=self.signing_secret(self.secret),
            event_id=event_id,
            event_type=event_type,
            now=NOW * 1000,
        )
        genuine = self.headers()
        compared = [name for name in self.needed if name not in self.timestamps()]
        assert [own[name] for name in compared] == [genuine[name] for name in compared]
        assert self.provider().verify(own, self.body, now=NOW * 1000).type == event_type

    def test_samples_are_events_of_the_sender(self) -> None:
        """Each sample event has its type when it is signed and verified, and none has it after the body is altered."""
        provider = self.provider(self.signing_secret(self.secret))
        assert event_types(provider.name)
        for name in event_types(provider.name):
            (sample,) = make_deliveries(provider, name, Faults(), now=NOW * 1000)
            event = provider.verify(sample.headers, sample.body, now=NOW * 1000)
            assert event.type == name
            assert provider.profile.id_from.startswith("body") or event.id == sample.id
            if self.signs_body:
                with pytest.raises(VerificationError):
                    provider.verify(sample.headers, sample.body + b" ", now=NOW * 1000)
