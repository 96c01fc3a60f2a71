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

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from flask_convex_http.errors import MissingSecretError, RegistrationError, VerificationError
from flask_convex_http.webhooks.secrets import LabelledSecret, Secrets, checked_secrets, resolve

DEFAULT_TOLERANCE = timedelta(minutes=5)

#: Headers an event does not carry on: they are credentials of someone, not a part of the delivery.
_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_HEADER_TOKEN = re.compile(r"[!-~]+")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """One verified delivery.

    Args:
        id: The provider's id of the event or delivery; the same for each retry.
        type: What happened, in the provider's words; empty where the provider does not say.
        data: The payload's own data.
        payload: All of the parsed body.
        body: The verified bytes.
        headers: The headers as received, with lower-case names and without cookies and credentials.
        provider: stripe, svix, standard, github or hmac.
        received_at: Milliseconds since the epoch.
        secret_label: Which secret matched: its variable's name, or `secret N`.
    """

    id: str
    type: str
    # A payload holds other people's personal data: the repr, which ends up in logs, leaves it out.
    data: Any = field(repr=False)
    payload: Any = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    provider: str
    received_at: float
    secret_label: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was received: headers with lower-case names, the raw body, and the time in ms since the epoch."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    now: float

    def header(self, *names: str) -> str:
        """Return the first of these headers that was sent.

        Args:
            names: One header's name, and others that stand in for it when it was not sent.

        Returns:
            The value as received.

        Raises:
            VerificationError: None was sent, or the first that was sent is empty.
        """
        values = (self.headers.get(name.lower()) for name in names)
        value = next((value for value in values if value is not None), "")
        if not value.strip():
            raise VerificationError("missing-header", f"Missing {names[0]} header")
        return value

    def token(self, *names: str) -> str:
        """Return a header that holds an identifier: printable ASCII without spaces.

        Args:
            names: As for `header`.

        Raises:
            VerificationError: The header is missing or holds something else.
        """
        value = self.header(*names)
        if not _HEADER_TOKEN.fullmatch(value):
            raise VerificationError("malformed", f"{names[0]} header is malformed")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a provider read in a delivery whose signature matched."""

    id: str
    type: str
    data: Any
    payload: Any


class Provider(ABC):
    """A sender of webhooks, and how its deliveries are verified.

    Args:
        secret: The signing secret, `from_env(...)`, or a list of these while one is being rotated.
        tolerance: How far the signed timestamp may be from now, in the past and in the future.

    Raises:
        RegistrationError: The secret or the tolerance cannot work.
    """

    #: The provider's word in `WebhookEvent.provider`.
    name: ClassVar[str]
    #: Headers without which there is nothing to verify; each with those that may stand in for it.
    required_headers: Sequence[tuple[str, ...]] = ()

    def __init__(self, *, secret: Secrets, tolerance: timedelta = DEFAULT_TOLERANCE) -> None:
        self._secrets = checked_secrets(secret)
        self._tolerance = _milliseconds(tolerance)

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
            secrets = resolve(self._secrets)
            delivery = _delivery(headers, body, now)
            label = self._authenticate(secrets, delivery)
            content = self.read(delivery)
            return WebhookEvent(
                id=content.id,
                type=content.type,
                data=content.data,
                payload=content.payload,
                body=delivery.body,
                headers={k: v for k, v in delivery.headers.items() if k not in _CREDENTIAL_HEADERS},
                provider=self.name,
                received_at=delivery.now,
                secret_label=label,
            )

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
            secrets = resolve(self._secrets)
            return self._authenticate(secrets, _delivery(headers, body, now))

    def require_secret(self) -> None:
        """Check that there is a secret to verify with, without looking at any delivery.

        Raises:
            MissingSecretError: No secret is available; the message names the variables.
        """
        resolve(self._secrets)

    # --- what a provider says ----------------------------------------------------------------------------

    def timestamp(self, delivery: Delivery) -> int | None:
        """Return the signed timestamp in seconds since the epoch, or None where the provider signs none."""
        return None

    def key(self, secret: str) -> bytes:
        """Return the bytes a secret stands for; raise ValueError when it stands for none."""
        return secret.encode()

    @abstractmethod
    def matches(self, delivery: Delivery, key: bytes) -> bool:
        """Say, in constant time, whether a signature of the delivery was made with this key."""

    @abstractmethod
    def read(self, delivery: Delivery) -> Content:
        """Read the event in a delivery whose signature matched."""

    # --- the order of the checks -------------------------------------------------------------------------

    def _authenticate(self, secrets: Sequence[LabelledSecret], delivery: Delivery) -> str:
        for names in self.required_headers:
            delivery.header(*names)
        self._check_time(delivery)
        unusable = ""
        for secret in secrets:
            key = self._usable_key(secret.value)
            if key is None:
                unusable = unusable or secret.label
                continue
            if self.matches(delivery, key):
                return secret.label
        # Only now: a broken secret in the list must not refuse what another one verifies.
        if unusable:
            raise MissingSecretError(f"{unusable} is not a valid signing secret")
        raise VerificationError("no-match", "Webhook signature does not match")

    def _usable_key(self, secret: str) -> bytes | None:
        try:
            return self.key(secret)
        except ValueError:
            return None

    def _check_time(self, delivery: Delivery) -> None:
        timestamp = self.timestamp(delivery)
        if timestamp is None:
            return
        age = delivery.now - timestamp * 1000
        # Written as "not within", so that an age that is not a number is refused too.
        if not age <= self._tolerance:
            raise VerificationError("too-old", "Webhook timestamp is too old")
        if not -age <= self._tolerance:
            raise VerificationError("too-new", "Webhook timestamp is too far in the future")


def parse_timestamp(text: str) -> int:
    """Read a timestamp strictly: 1 to 12 ASCII digits, seconds since the epoch.

    Args:
        text: What was received. Signs, spaces, fractions and other scripts' digits are refused; `int()` and
            `float()` take them.

    Raises:
        VerificationError: It is anything else.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise VerificationError("malformed", "Webhook timestamp is not a whole number of seconds")
    return int(text)


def parse_object(body: bytes) -> dict[str, Any]:
    """Decode a body that must be one JSON object.

    Args:
        body: The verified bytes.

    Raises:
        VerificationError: It is not JSON, is nested too deeply, or is not an object.
    """
    try:
        payload = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise VerificationError("malformed", "Webhook body is not valid JSON") from error
    if not isinstance(payload, dict):
        raise VerificationError("malformed", "Webhook body is not a JSON object")
    return payload


def text_field(payload: Mapping[str, Any], name: str) -> str:
    """Return a field of the payload that must be text and not empty.

    Raises:
        VerificationError: It is missing, empty or something else.
    """
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise VerificationError("malformed", f"Webhook body has no text field {name!r}")
    return value


def _delivery(headers: Mapping[str, str], body: bytes, now: float | None) -> Delivery:
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        # RFC 9110, 5.3: a header sent twice is the same as one with both values joined.
        lowered[name] = f"{lowered[name]}, {value}" if name in lowered else value
    return Delivery(lowered, body, time.time() * 1000 if now is None else float(now))


def _milliseconds(tolerance: timedelta) -> float:
    if not isinstance(tolerance, timedelta):
        raise RegistrationError(
            f"tolerance must be a timedelta such as timedelta(minutes=5), not {type(tolerance).__name__}"
        )
    if tolerance <= timedelta(0):
        raise RegistrationError("tolerance must be more than zero, for example timedelta(minutes=5)")
    return tolerance / _MILLISECOND


@contextmanager
def _typed_refusals() -> Iterator[None]:
    try:
        yield
    except (VerificationError, MissingSecretError):
        raise
    except Exception as error:
        raise VerificationError("malformed", "Webhook is malformed") from error
