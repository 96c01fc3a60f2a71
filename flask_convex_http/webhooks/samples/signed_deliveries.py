"""Deliveries for tests: signed as their sender signs them, and spoiled in the ways deliveries are spoiled.

Nothing is sent here. Each delivery comes with the verdict it deserves, so that whoever sends it can tell whether the
receiver did as it should. A forgery's verdict is known by how it was made and never asked of the code under test.
"""

from __future__ import annotations

import base64
import random
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.samples.events import Sample

Verdict = Literal["accepted", "refused"]

_MILLISECOND = timedelta(milliseconds=1)
_ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way.

    Attributes:
        duplicate: How many copies come, byte for byte the same.
        reorder: Whether several events come in another order than they happened.
        seed: Which other order; a random one if not given.
        late: How long ago the event happened and was signed.
        tamper: Whether somebody changes the body after it was signed.
        old_secret: Whether it is signed with the last of several secrets, the one to be retired; where there is only
            one, with a secret that is not the receiver's.
        fresh_id: Whether somebody who has no secret sends it once more, under another id.

    Raises:
        ValueError: A value cannot be.
    """

    duplicate: int = 1
    reorder: bool = False
    seed: int | None = None
    late: timedelta | None = None
    tamper: bool = False
    old_secret: bool = False
    fresh_id: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.duplicate, int) or self.duplicate < 1:
            raise ValueError(f"duplicate={self.duplicate!r} must be how many copies to send, 1 or more")
        if self.late is not None and not (isinstance(self.late, timedelta) and self.late >= timedelta(0)):
            raise ValueError(f"late={self.late!r} must be a timedelta such as timedelta(hours=2)")

    def sent_at(self, now: float) -> float:
        """When the delivery is signed, both in milliseconds since the epoch."""
        return now if self.late is None else now - self.late / _MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDelivery:
    """One request, and what is to become of it.

    Attributes:
        headers: The headers.
        body: The body.
        id: The event's id.
        type: The event's type.
        copies: How many times it comes.
        verdict: What the receiver is to do with it.
        reason: Why, for people.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    id: str
    type: str
    copies: int = 1
    verdict: Verdict = "accepted"
    reason: str = "genuine"


def signed(provider: Provider, samples: Sequence[Sample], faults: Faults, *, now: float) -> list[SignedDelivery]:
    """Sign events and spoil them.

    Args:
        provider: Whose webhooks they are; its secrets sign.
        samples: The events in the order in which they happened, made as of `faults.sent_at(now)`.
        faults: What goes wrong.
        now: The present, in milliseconds since the epoch.

    Returns:
        The deliveries in the order to send them in, each as many times as its `copies` say.

    Raises:
        MissingSecretError: No secret is set that can sign.
        NotImplementedError: The provider cannot sign.
        ValueError: The faults do not fit the events.
    """
    secret = _signing_secret(provider, faults.old_secret)
    deliveries: list[SignedDelivery] = []
    for sample in _ordered(samples, faults):
        genuine = _signed(provider, sample, secret, faults.sent_at(now))
        spoiled = replace(_spoiled(provider, genuine, faults, now), copies=faults.duplicate)
        deliveries.append(spoiled)
        if faults.fresh_id:
            deliveries.append(_replayed(provider, spoiled, sample))
    return deliveries


@dataclass(frozen=True, slots=True)
class _SigningSecret:
    value: str = field(repr=False)
    is_foreign: bool = False


def _signing_secret(provider: Provider, old: bool) -> _SigningSecret:
    available = provider.available_secrets()
    if not old:
        return _SigningSecret(available[0].value)
    if len(available) > 1:
        return _SigningSecret(available[-1].value)
    # In the form that the strictest provider takes; for the others it is a text like any other.
    return _SigningSecret("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(), is_foreign=True)


def _ordered(samples: Sequence[Sample], faults: Faults) -> list[Sample]:
    ordered = list(samples)
    if not faults.reorder:
        return ordered
    if len(ordered) < 2:
        raise ValueError("reorder needs two events or more: name several types")
    random.Random(faults.seed).shuffle(ordered)
    return ordered[::-1] if ordered == list(samples) else ordered


def _signed(provider: Provider, sample: Sample, secret: _SigningSecret, at: float) -> SignedDelivery:
    try:
        headers = provider.sign(sample.body, secret=secret.value, event_id=sample.id, event_type=sample.type, now=at)
    except ValueError as error:
        raise MissingSecretError(f"A secret of {provider.name} is not a valid signing secret") from error
    others = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    delivery = SignedDelivery(
        headers={**others, "Content-Type": sample.content_type}, body=sample.body, id=sample.id, type=sample.type
    )
    return _refused(delivery, "signed with another secret") if secret.is_foreign else delivery


def _spoiled(provider: Provider, delivery: SignedDelivery, faults: Faults, now: float) -> SignedDelivery:
    if faults.tamper:
        return _refused(replace(delivery, body=_tampered(delivery.body)), "its body was altered after it was signed")
    if delivery.verdict == "accepted" and faults.late is not None and _is_too_old(provider, delivery, now):
        return _refused(delivery, "it is too old")
    return delivery


def _is_too_old(provider: Provider, delivery: SignedDelivery, now: float) -> bool:
    try:
        provider.verify_signature(delivery.headers, delivery.body, now=now)
    except VerificationError as error:
        return error.reason == "too-old"
    return False


def _tampered(body: bytes) -> bytes:
    """A body that reads as well as before and says something else."""
    if body.endswith(b"}"):
        return body[:-1] + (b"" if body == b"{}" else b",") + b'"tampered":true}'
    return body + b"&tampered=true"


def _replayed(provider: Provider, delivery: SignedDelivery, sample: Sample) -> SignedDelivery:
    """The same under another id, by somebody who cannot sign: what was signed over the old id no longer matches."""
    fresh = _other_id(sample.id)
    headers = {name: fresh if value == sample.id else value for name, value in delivery.headers.items()}
    body = delivery.body.replace(sample.id.encode(), fresh.encode())
    if headers == delivery.headers and body == delivery.body:
        raise ValueError(f"fresh_id: a delivery of {sample.type!r} carries no id that could be another one")
    replayed = replace(delivery, headers=headers, body=body, id=fresh, copies=1)
    if delivery.verdict == "refused":
        return replayed
    if provider.profile.id_is_signed:
        return _refused(replayed, "its id was altered after it was signed")
    return replace(replayed, reason="its id is not signed, and its content has come before: it must run nothing again")


def _other_id(id: str) -> str:
    """An id of the same form."""
    try:
        uuid.UUID(id)
        return str(uuid.uuid4())
    except ValueError:
        tail = min(8, len(id))
        return id[:-tail] + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(tail))


def _refused(delivery: SignedDelivery, reason: str) -> SignedDelivery:
    return replace(delivery, verdict="refused", reason=reason)
