"""The contract of a provider of one sender: a class of tests that each sender's own class derives from.

Each class has a delivery that is signed by the vendor's documented rule, not by the provider.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import Provider
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.lengths import examples
from tests.webhooks.senders import Sender

NOW = 1_750_000_000
REASONS = ("missing-header", "malformed", "too-old", "too-new", "no-match")

Headers = dict[str, str]


class ProviderContract:
    """Tests of one sender.

    Attributes:
        build: The provider's class, or a function that takes `secret` and creates it.
        body: A body of the sender.
        event: The id and the type of the event in it.
        needed: The required headers.
        unsigned: Those of them that are not signed.
        timed: Whether the sender signs a time.
        signs_body: Whether the sender signs the body.
        secrets: Three secrets: the one in use, an old one and another sender's.
    """

    build: Callable[..., Provider]
    body: ClassVar[bytes]
    event: ClassVar[tuple[str, str]]
    needed: ClassVar[tuple[str, ...]]
    unsigned: ClassVar[tuple[str, ...]] = ()
    timed: ClassVar[bool] = False
    signs_body: ClassVar[bool] = True
    secrets: ClassVar[tuple[str, str, str]] = ("the secret in use", "the old secret", "the secret of another")

    @staticmethod
    def sign(secret: str, body: bytes, at: int) -> Headers:
        """Return the headers of a delivery by the vendor's rule. To be defined."""
        raise NotImplementedError

    @classmethod
    def provider(cls, secret: Any = None, **options: Any) -> Provider:
        """Create the provider, by default with the secret in use."""
        return vars(cls)["build"](secret=secret or cls.secrets[0], **options)  # type: ignore[no-any-return]

    @classmethod
    def headers(cls, *, secret: str | None = None, body: bytes | None = None, at: int = NOW) -> Headers:
        """Return the headers of a genuine delivery."""
        signed = cls.sign(secret or cls.secrets[0], cls.body if body is None else body, at)
        return {"Content-Type": "application/json", **signed}

    @classmethod
    def sender(cls) -> Sender:
        """Return the sender for the fuzzer."""
        used, old, other = cls.secrets
        return Sender(
            cls.provider,
            cls.sign,
            *cls.event,
            cls.needed,
            timed=cls.timed,
            secret=used,
            old_secret=old,
            other_secret=other,
            body=cls.body,
            signs_body=cls.signs_body,
        )

    def rejection_of_body(self, body: bytes) -> str:
        """Return the reason for which a body is rejected after its signature was verified."""
        with pytest.raises(VerificationError) as caught:
            self.provider().verify(self.headers(body=body), body, now=NOW * 1000)
        return caught.value.reason

    @classmethod
    def signing_secret(cls, secret: str) -> str:
        """Return the sender's secret: a private key where the receiver has a public one."""
        return secret

    def rejection(self, headers: Headers, body: bytes | None = None, at: float = NOW) -> str:
        """Return the reason for which a delivery is rejected."""
        provider = self.provider()
        with pytest.raises(VerificationError) as caught:
            provider.verify(headers, self.body if body is None else body, now=at * 1000)
        assert caught.value.status == provider.profile.rejected_status
        return caught.value.reason

    def test_valid_delivery_gives_its_event(self) -> None:
        """A delivery signed by the vendor's rule becomes an event, and is read the same once it is stored."""
        provider = self.provider()
        event = provider.verify(self.headers(), self.body, now=NOW * 1000)
        assert ((event.id, event.type), event.secret_label) == (self.event, "secret 1")
        assert provider.name not in ("hmac", "svix", "standard")
        assert provider.event(event.headers, self.body, received_at=NOW * 1000, secret_label="secret 1") == event
        assert self.secrets[0] not in repr(provider) + repr(event)

    def test_wrong_secret_is_rejected(self) -> None:
        """A delivery signed with another secret does not match."""
        assert self.rejection(self.headers(secret=self.secrets[2])) == "no-match"

    def test_altered_body_is_rejected(self) -> None:
        """A body with one more byte does not match its signature."""
        if self.signs_body:
            assert self.rejection(self.headers(), self.body + b" ") == "no-match"

    def test_altered_header_is_rejected(self) -> None:
        """A change of any signed header rejects the delivery."""
        for name in set(self.needed).difference(self.unsigned):
            value = self.headers()[name]
            changed = value[:-1] + ("0" if value[-1] != "0" else "1")
            assert self.rejection({**self.headers(), name: changed}) in REASONS

    def test_missing_or_empty_header_is_rejected(self) -> None:
        """A delivery without one of the required headers is rejected with its name."""
        for name in self.needed:
            others = {key: value for key, value in self.headers().items() if key != name}
            with pytest.raises(VerificationError, match=f"^Missing {name} header$"):
                self.provider().verify(others, self.body, now=NOW * 1000)
            assert self.rejection({**others, name: " "}) == "missing-header"

    def test_tolerance_has_two_ends(self) -> None:
        """A signed time is accepted five minutes early or late, and rejected two seconds later."""
        provider, headers = self.provider(), self.headers()
        assert provider.signs_time is self.timed
        for at in (NOW - 299, NOW + 299):
            provider.verify(headers, self.body, now=at * 1000)
        if self.timed:
            assert self.rejection(headers, at=NOW + 302) == "too-old"
            assert self.rejection(headers, at=NOW - 302) == "too-new"

    def test_rotated_secrets_are_both_accepted(self) -> None:
        """While a secret is rotated both verify, and the event has the label of the one that matched."""
        provider = self.provider(list(self.secrets[:2]))
        event = provider.verify(self.headers(secret=self.secrets[1]), self.body, now=NOW * 1000)
        assert event.secret_label == "secret 2"

    def test_own_signature_is_the_senders(self) -> None:
        """`sign` makes the headers of the vendor's rule."""
        event_id, event_type = self.event
        own = self.provider().sign(
            self.body,
            secret=self.signing_secret(self.secrets[0]),
            event_id=event_id,
            event_type=event_type,
            now=NOW * 1000,
        )
        genuine = self.headers()
        compared = [name for name in self.needed if name not in self.timestamps()]
        assert [own[name] for name in compared] == [genuine[name] for name in compared]
        assert self.provider().verify(own, self.body, now=NOW * 1000).type == event_type

    @classmethod
    def timestamps(cls) -> tuple[str, ...]:
        """Return the headers that `sign` writes otherwise than these tests, with other fractions of a second."""
        return ()

    def test_samples_are_events_of_the_sender(self) -> None:
        """Each sample event has its type when it is signed and verified, and none has it after the body is altered."""
        provider = self.provider(self.signing_secret(self.secrets[0]))
        assert event_types(provider.name)
        for name in event_types(provider.name):
            (sample,) = make_deliveries(provider, name, Faults(), now=NOW * 1000)
            event = provider.verify(sample.headers, sample.body, now=NOW * 1000)
            assert event.type == name
            assert provider.profile.id_from.startswith("body") or event.id == sample.id
            if self.signs_body:
                with pytest.raises(VerificationError):
                    provider.verify(sample.headers, sample.body + b" ", now=NOW * 1000)

    def test_profile_is_plausible(self) -> None:
        """A profile has a timeout, a window for repeated deliveries and the page that documents it."""
        profile = self.provider().profile
        assert 0 < profile.timeout.total_seconds() <= 60
        assert profile.window.total_seconds() > 0
        assert profile.source.startswith("https://")
        assert self.signs_body or "body" not in profile.signed

    def test_garbage_is_rejected(self) -> None:
        """Signed bytes that are no event are malformed, and unsigned ones never verify."""
        provider = self.provider()

        @given(st.binary(max_size=40), st.dictionaries(st.sampled_from(self.needed), st.text(max_size=40)))
        @_examples
        def check(body: bytes, garbage: Headers) -> None:
            genuine = self.headers(body=body)
            for headers in (garbage, genuine | garbage, genuine):
                try:
                    provider.verify(headers, body, now=NOW * 1000)
                except VerificationError as error:
                    assert error.reason in REASONS
                    assert self.secrets[0] not in str(error)
                else:
                    assert all(headers.get(name) == genuine[name] for name in self.needed if name not in self.unsigned)

        check()


def _examples(test: Any) -> Any:
    from hypothesis import settings

    return settings(max_examples=examples(100, sample=5), deadline=None, database=None)(test)
