"""The base class of webhook providers.

Rules of this folder:

* Headers and a body enter, a `WebhookEvent` or one typed error leaves. No web framework, no SQL. No I/O either, except
  that a provider whose sender publishes its keys on the network fetches them, before any transaction begins.
* `verify()` raises `VerificationError`, `MissingSecretError` or `VerificationUnavailableError` and nothing else, for
  any input. `verification` has the order of the checks.
* Anyone can send forgeries, so a rejection must be cheap: no library of a vendor, no copy of the headers, no parsed
  body, no event, and for a signature that does not match no exception either. `verdict()` returns the rejection.
* Secrets come first, so that an unset variable shows at the first request of any kind.
* A provider is a small file: a subclass of `Provider` with the headers it needs and the check of a signature. It
  computes with `hmac` and `hashlib`. Where the vendor has a library, a test compares the verdicts.
* The time is the argument `now`, so that a delivery can be verified as of the moment it was received.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from flask_convex_http.errors import VerificationError
from flask_convex_http.webhooks import batches
from flask_convex_http.webhooks.digests import digest
from flask_convex_http.webhooks.events import (
    KEPT_HEADERS,
    Content,
    Delivery,
    HandshakeReply,
    SignedRequest,
    WebhookEvent,
)
from flask_convex_http.webhooks.headers import ELEMENT, METHOD, URL, lower_case
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.provider_secrets import ProviderSecrets
from flask_convex_http.webhooks.secrets import Secrets
from flask_convex_http.webhooks.tolerance import DEFAULT_TOLERANCE, Tolerance
from flask_convex_http.webhooks.verification import authenticate, event_of, judge


class Provider(ProviderSecrets, ABC):
    """A sender of webhooks: verifies deliveries and reads their events. Derive from it for a sender of your own.

    A subclass has a `name`, a `profile`, the headers that a delivery must have, and two methods: `matches` checks a
    signature, and `read` finds the event's id and type. Everything else has a default. For most senders one of the
    signature families, such as `HmacSignature`, suffices without a subclass.

    Args:
        secret: The signing secret, `from_env(...)`, or a list of these while a secret is rotated. None for a sender
            whose public keys are fetched (`has_secrets = False`): `matches` then gets an empty key.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: How far it may be in the future, if that differs.

    Raises:
        RegistrationError: The secret or a tolerance is invalid.
    """

    #: How the sender behaves. A generic provider sets it for each instance.
    profile: Profile
    #: Where `object_of` finds the object in the payload, for messages and descriptions; empty for the payload itself.
    object_field: ClassVar[str] = "data"
    #: The headers that a delivery must have, each with the headers that may replace it.
    required_headers: Sequence[tuple[str, ...]] = ()
    #: Methods besides POST that the sender verifies a URL with, such as ("GET",). See `unsigned_handshake`.
    handshake_methods: Sequence[str] = ()
    #: Lower-case names of what contains the secret itself: headers, or `:url`. It is neither stored nor in an event.
    credential_headers: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        secret: Secrets | None,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        super().__init__(secret)
        self._tolerance = Tolerance.of(tolerance, future_tolerance)

    def verify(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float | None = None,
        method: str | None = None,
        url: str | None = None,
    ) -> WebhookEvent:
        """Verify a delivery and read its event.

        Args:
            headers: The headers as received. Their case does not matter.
            body: The raw body.
            now: The time to verify as of, in milliseconds since the epoch. By default the current time.
            method: The method of the request. By default that of a stored delivery, or POST.
            url: The URL as the sender wrote it, for a sender that signs it. By default that of a stored delivery.

        Returns:
            The verified event.

        Raises:
            VerificationError: The delivery is rejected. `reason` is the machine-readable reason.
            MissingSecretError: No secret is available, or no secret matches and one is malformed.
            VerificationUnavailableError: The sender's public keys cannot be fetched.
        """
        result = self.verdict(headers, body, now=now, method=method, url=url)
        if isinstance(result, VerificationError):
            raise result
        return result

    def verdict(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float | None = None,
        method: str | None = None,
        url: str | None = None,
    ) -> WebhookEvent | VerificationError:
        """Verify a delivery as `verify` does, and return a rejection instead of raising it.

        Args:
            headers: The headers as received. Their case does not matter.
            body: The raw body.
            now: The time to verify as of, in milliseconds since the epoch. By default the current time.
            method: The method of the request. By default that of a stored delivery, or POST.
            url: The URL as the sender wrote it, for a sender that signs it. By default that of a stored delivery.

        Returns:
            The verified event, or the error for which the delivery is rejected.

        Raises:
            MissingSecretError: No secret is available, or no secret matches and one is malformed.
            VerificationUnavailableError: The sender's public keys cannot be fetched.
        """
        return judge(self, self.current_keys(), _delivery(lower_case(headers, method, url), body, now))

    def verify_signature(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float | None = None,
        method: str | None = None,
        url: str | None = None,
    ) -> str:
        """Verify only the timestamp and the signature. The body may be any bytes.

        Args:
            headers: The headers as received. Their case does not matter.
            body: The raw body.
            now: The time to verify as of, in milliseconds since the epoch. By default the current time.
            method: The method of the request. By default that of a stored delivery, or POST.
            url: The URL as the sender wrote it, for a sender that signs it. By default that of a stored delivery.

        Returns:
            The label of the secret that matched.

        Raises:
            VerificationError: The delivery is rejected. `reason` is the machine-readable reason.
            MissingSecretError: No secret is available, or no secret matches and one is malformed.
            VerificationUnavailableError: The sender's public keys cannot be fetched.
        """
        delivery = _delivery(lower_case(headers, method, url), body, now)
        label = authenticate(self, self.current_keys(), delivery)
        if isinstance(label, VerificationError):
            raise label
        return label

    def event(
        self, headers: Mapping[str, str], body: bytes, *, received_at: float, secret_label: str = ""
    ) -> WebhookEvent:
        """Read the event of a delivery without verifying it, because that was done when it was received.

        Args:
            headers: The headers as received. Their case does not matter.
            body: The raw body.
            received_at: When it was received, in milliseconds since the epoch.
            secret_label: The label of the secret that matched.

        Raises:
            VerificationError: The body contains no event.
        """
        return event_of(self, _delivery(lower_case(headers), body, received_at), secret_label)

    def split(self, event: WebhookEvent) -> Sequence[WebhookEvent]:
        """Return the events of a verified delivery: itself, or one for each element if its body is a batch.

        Raises:
            VerificationError: An element is not an event.
        """
        return batches.split(self, event) if self.batches and isinstance(event.payload, list) else (event,)

    @cached_property
    def kept_headers(self) -> frozenset[str]:
        """The lower-case names of the headers of an event, which are stored with it. All others are dropped.

        A header that holds the secret itself is none of them: handlers would log it, and backups have it for months.
        """
        named = (name for names in self.required_headers for name in names)
        request_line = (METHOD, URL) if {"url", "method"} & set(self.profile.signed) else ()
        batch = (ELEMENT,) if self.batches else ()
        kept = KEPT_HEADERS.union(map(str.lower, (*named, *self.profile.headers, *request_line, *batch)))
        return kept - self.credential_headers

    @property
    def batches(self) -> bool:
        """Whether the elements of a JSON array are events of their own: whether `read_element` is defined."""
        return type(self).read_element is not Provider.read_element

    @property
    def signs_time(self) -> bool:
        """Whether deliveries have a signed time, so that an old one cannot be replayed."""
        return type(self).timestamp is not Provider.timestamp

    @property
    def tolerance(self) -> Tolerance:
        """How far a signed time may be from now."""
        return self._tolerance

    @property
    def window(self) -> timedelta:
        """How long the same delivery may be sent again, by its sender or as a replay within the tolerance."""
        return max(self.profile.window, self._tolerance.window if self.signs_time else timedelta(0))

    # --- for subclasses to define ------------------------------------------------------------------------

    def timestamp(self, delivery: Delivery) -> float | None:
        """Return the signed timestamp in seconds since the epoch, or None if the provider does not sign one."""
        return None

    @abstractmethod
    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Return whether a signature of the delivery was made with this key, compared in constant time."""

    @abstractmethod
    def read(self, delivery: Delivery) -> Content:
        """Read the event of a delivery whose signature matched."""

    def read_element(self, element: Any, delivery: Delivery) -> Content:
        """Read one event of a sender that puts several into a JSON array, each with its own id.

        A provider that defines it is a provider of batches: each element is a delivery of its own in the inbox. The
        sender gets one response, and a batch that is sent again runs only the elements that have not run.

        Args:
            element: The element.
            delivery: The element's own delivery: its body is the JSON of the element.
        """
        raise NotImplementedError(f"{type(self).__name__} has no batches")

    def object_of(self, event: WebhookEvent) -> Any:
        """Return the object that the event is about: the third parameter of a handler of `.on(...)`.

        By default it is the event's data. A provider with another object also sets `object_field`.
        """
        return event.data

    def fingerprint(self, event: WebhookEvent) -> str:
        """Return a digest of the content, by which `dedupe="content"` recognises an event under another id.

        It covers the type, because some senders send one body under several types.
        """
        return f"sha256:{digest(event.type, event.body)}"

    def handshake(self, event: WebhookEvent) -> HandshakeReply:
        """Return the response to a signed request that verifies a new URL, or None for a real event.

        A text is sent as `text/plain`, an object as JSON. `current_keys` has the keys for a response that is signed.
        """
        return None

    def unsigned_handshake(self, delivery: Delivery) -> HandshakeReply:
        """Return the response to a request that verifies the URL and has no signature, or None to reject it.

        Called for each request with one of `handshake_methods`, and for a POST whose signature does not verify. Anyone
        may send one, so compare a token that it carries in constant time.
        """
        return "" if delivery.method == "POST" and self.is_probe(delivery.body) else None

    @cached_property
    def greets(self) -> bool:
        """Whether a POST whose signature does not verify may be a request that verifies the URL."""
        kind = type(self)
        return kind.unsigned_handshake is not Provider.unsigned_handshake or kind.is_probe is not Provider.is_probe

    def is_probe(self, body: bytes) -> bool:
        """Return whether a body without a valid signature only checks the URL. The response is 200, and nothing runs.

        Args:
            body: The body, which anyone may have sent.
        """
        return False

    def needs_fresh_response(self, event: WebhookEvent) -> bool:
        """Return whether the sender needs a response of its own to each request, so that none is a duplicate."""
        return False

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers with which the sender would deliver a body, for test deliveries.

        Args:
            body: The body.
            secret: The secret's value.
            event_id: The event's id, for senders that put it into a header.
            event_type: The event's type, for senders that put it into a header.
            now: When it is sent, in milliseconds since the epoch.

        Raises:
            NotImplementedError: The provider cannot sign.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot sign deliveries")

    def sign_request(
        self, request: SignedRequest, *, secret: str, event_id: str, event_type: str, now: float
    ) -> SignedRequest:
        """Return a request as the sender would send it, for test deliveries. Define it to sign the URL or the body.

        By default it has the headers of `sign`, whose arguments it takes.
        """
        headers = self.sign(request.body, secret=secret, event_id=event_id, event_type=event_type, now=now)
        return request.with_headers(headers)


def _delivery(headers: Mapping[str, str], body: bytes, now: float | None) -> Delivery:
    return Delivery(headers, body, time.time() * 1000 if now is None else float(now))
