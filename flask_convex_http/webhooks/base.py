"""What every webhook provider shares: the event, the delivery, and the order of the checks.

Rules of this folder:

* No I/O: headers and bytes come in, a `WebhookEvent` or one typed refusal goes out. No web framework, no SQL.
* `verify()` raises `VerificationError` or `MissingSecretError` and nothing else, whatever the sender sent.
  Vendors' libraries raise half a dozen exceptions on hostile input; they are translated here, in one place.
* The order is: secrets are there, headers are there, timestamp, signature. Only then is the body parsed. Secrets
  come first so that an unset variable shows at the first request, whatever it looks like.
* A provider is a small file: a subclass of `Provider` that says which headers it needs and when a signature
  matches.
* Time comes in as `now`, so that a delivery can be verified as of the moment it was received.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar

from flask_convex_http.errors import MissingSecretError, RegistrationError, VerificationError
from flask_convex_http.webhooks.events import CREDENTIAL_HEADERS, Content, Delivery, WebhookEvent
from flask_convex_http.webhooks.profiles import Profile
from flask_convex_http.webhooks.secrets import LabelledSecret, Secrets, available, checked_secrets

DEFAULT_TOLERANCE = timedelta(minutes=5)

_MILLISECOND = timedelta(milliseconds=1)


class Provider(ABC):
    """A sender of webhooks, and how its deliveries are verified.

    Args:
        secret: The signing secret, `from_env(...)`, or a list of these while one is being rotated.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.
        future_tolerance: The same for the future alone.

    Raises:
        RegistrationError: The secret or a tolerance cannot work.
    """

    #: The provider's word in `WebhookEvent.provider`.
    name: ClassVar[str]
    #: How the sender behaves; of a generic one each instance says so itself.
    profile: Profile
    #: Headers without which there is nothing to verify; each with those that may stand in for it.
    required_headers: Sequence[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        secret: Secrets,
        tolerance: timedelta = DEFAULT_TOLERANCE,
        future_tolerance: timedelta | None = None,
    ) -> None:
        self._secrets = checked_secrets(secret)
        self._past = _milliseconds("tolerance", tolerance)
        self._future = self._past
        if future_tolerance is not None:
            self._future = _milliseconds("future_tolerance", future_tolerance)

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> WebhookEvent:
        """Verify a delivery and read its event.

        Args:
            headers: The headers as received; case does not matter.
            body: The raw body.
            now: Milliseconds since the epoch to verify as of; the current time when left out.

        Returns:
            The verified event.

        Raises:
            VerificationError: The delivery is refused; `reason` says why.
            MissingSecretError: No secret is available, or none matched and one is unusable.
        """
        with _typed_refusals():
            secrets = available(self._secrets)
            delivery = _delivery(headers, body, now)
            return self._event(delivery, self._authenticate(secrets, delivery))

    def verify_signature(self, headers: Mapping[str, str], body: bytes, *, now: float | None = None) -> str:
        """Verify only the timestamp and the signature; the body may be any bytes.

        Args:
            headers: The headers as received; case does not matter.
            body: The raw body.
            now: Milliseconds since the epoch to verify as of; the current time when left out.

        Returns:
            The label of the secret that matched.

        Raises:
            VerificationError: The delivery is refused; `reason` says why.
            MissingSecretError: No secret is available, or none matched and one is unusable.
        """
        with _typed_refusals():
            secrets = available(self._secrets)
            return self._authenticate(secrets, _delivery(headers, body, now))

    def event(
        self, headers: Mapping[str, str], body: bytes, *, received_at: float, secret_label: str = ""
    ) -> WebhookEvent:
        """Read the event of a delivery that was verified when it was received; nothing is verified here.

        Args:
            headers: The headers as received; case does not matter.
            body: The raw body.
            received_at: When that was, in milliseconds since the epoch.
            secret_label: Which secret had matched.

        Raises:
            VerificationError: There is no event in it.
        """
        with _typed_refusals():
            return self._event(_delivery(headers, body, received_at), secret_label)

    def require_secret(self) -> None:
        """Check that there is a secret to verify with, without looking at any delivery.

        Raises:
            MissingSecretError: No secret is available; the message names the variables.
        """
        available(self._secrets)

    def available_secrets(self) -> list[LabelledSecret]:
        """The secrets that are set now, in the order given.

        Raises:
            MissingSecretError: None is.
        """
        return available(self._secrets)

    @property
    def signs_time(self) -> bool:
        """Whether its deliveries carry a signed time, so that an old one cannot be sent again by anybody."""
        return type(self).timestamp is not Provider.timestamp

    @property
    def window(self) -> timedelta:
        """For how long the same delivery may come again: from its sender, or from whoever has seen it, while its signed
        time is within the tolerance.
        """
        signed = timedelta(milliseconds=self._past + self._future) if self.signs_time else timedelta(0)
        return max(self.profile.window, signed)

    # --- what a provider says ----------------------------------------------------------------------------

    def timestamp(self, delivery: Delivery) -> int | None:
        """Return the signed timestamp in seconds since the epoch, or None where the provider signs none."""
        return None

    def key(self, secret: str) -> bytes:
        """Return the bytes a secret stands for; raise ValueError when it stands for none.

        Raises:
            MissingSecretError: What is needed to use it is not installed.
        """
        return secret.encode()

    @abstractmethod
    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Say, in constant time, whether a signature of the delivery was made with this key."""

    @abstractmethod
    def read(self, delivery: Delivery) -> Content:
        """Read the event in a delivery whose signature matched."""

    def fingerprint(self, event: WebhookEvent) -> str | None:
        """What is the same in each copy of a delivery and cannot be forged, where the id can; None where it cannot."""
        return None

    def handshake(self, event: WebhookEvent) -> str | None:
        """The text that answers a sender who only asks whether somebody is there; None if this is a real event."""
        return None

    def sign(self, body: bytes, *, secret: str, event_id: str, event_type: str, now: float) -> dict[str, str]:
        """Return the headers with which this sender would deliver a body; for tests.

        Args:
            body: The body.
            secret: The secret's value.
            event_id: The id, where a header has it.
            event_type: The type, where a header has it.
            now: When it is sent, in milliseconds since the epoch.

        Raises:
            NotImplementedError: This provider cannot.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot sign deliveries")

    # --- the order of the checks -------------------------------------------------------------------------

    def _authenticate(self, secrets: Sequence[LabelledSecret], delivery: Delivery) -> str:
        for names in self.required_headers:
            delivery.header(*names)
        self._check_time(delivery)
        unusable: list[MissingSecretError] = []
        for secret in secrets:
            key = self._usable_key(secret)
            if isinstance(key, MissingSecretError):
                unusable.append(key)
                continue
            if self.matches(delivery, key):
                return secret.label
        # Only now: a broken secret in the list must not refuse what another one verifies.
        if unusable:
            raise unusable[0]
        raise VerificationError("no-match", "Webhook signature does not match")

    def _event(self, delivery: Delivery, label: str) -> WebhookEvent:
        content = self.read(delivery)
        kept = {name for names in self.required_headers for name in map(str.lower, names)}  # to verify it once more
        headers = delivery.headers.items()
        return WebhookEvent(
            id=content.id,
            type=content.type,
            data=content.data,
            payload=content.payload,
            body=delivery.body,
            headers={name: value for name, value in headers if name in kept or name not in CREDENTIAL_HEADERS},
            provider=self.name,
            received_at=delivery.now,
            secret_label=label,
        )

    def _usable_key(self, secret: LabelledSecret) -> bytes | MissingSecretError:
        try:
            return self.key(secret.value)
        except ValueError:
            return MissingSecretError(f"{secret.label} is not a valid signing secret")
        except MissingSecretError as error:
            return error

    def _check_time(self, delivery: Delivery) -> None:
        timestamp = self.timestamp(delivery)
        if timestamp is None:
            return
        age = delivery.now - timestamp * 1000
        # Written as "not within", so that an age that is not a number is refused too.
        if not age <= self._past:
            raise VerificationError("too-old", "Webhook timestamp is too old")
        if not -age <= self._future:
            raise VerificationError("too-new", "Webhook timestamp is too far in the future")


def _delivery(headers: Mapping[str, str], body: bytes, now: float | None) -> Delivery:
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        # RFC 9110, 5.3: a header sent twice is the same as one with both values joined.
        lowered[name] = f"{lowered[name]}, {value}" if name in lowered else value
    return Delivery(lowered, body, time.time() * 1000 if now is None else float(now))


def _milliseconds(name: str, tolerance: timedelta) -> float:
    if not isinstance(tolerance, timedelta):
        raise RegistrationError(
            f"{name} must be a timedelta such as timedelta(minutes=5), not {type(tolerance).__name__}"
        )
    if tolerance <= timedelta(0):
        raise RegistrationError(f"{name} must be more than zero, for example timedelta(minutes=5)")
    return tolerance / _MILLISECOND


@contextmanager
def _typed_refusals() -> Iterator[None]:
    try:
        yield
    except (VerificationError, MissingSecretError):
        raise
    except Exception as error:
        raise VerificationError("malformed", "Webhook is malformed") from error
