"""Test deliveries: sample events signed as their sender signs them, and spoiled on request.

Nothing is sent here. Each delivery has the verdict that a receiver should reach, so that the caller can compare it with
the response. The verdict of a forgery follows from how it was made and does not depend on the code under test.
"""

from __future__ import annotations

import base64
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from flask_convex_http.errors import MissingSecretError, VerificationError
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import SignedRequest
from flask_convex_http.webhooks.samples.events import SampleEvent, sample_events, whole_event

Verdict = Literal["accepted", "refused"]

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of a test delivery.

    Attributes:
        duplicate: How many times each delivery is sent, byte for byte the same.
        reorder: Whether the events are sent in another order than they happened.
        seed: Chooses the order of `reorder`. By default it is random.
        late: How long ago the event happened and was signed.
        tamper: Whether the body is changed after it was signed.
        old_secret: Whether to sign with the last of several secrets. If there is only one, a random secret signs.
        fresh_id: Whether each delivery is sent once more under another id by someone without the secret.

    Raises:
        ValueError: A value is out of range.
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
            raise ValueError(f"duplicate={self.duplicate!r} must be how many times to send it, 1 or more")
        if self.late is not None and not (isinstance(self.late, timedelta) and self.late >= timedelta(0)):
            raise ValueError(f"late={self.late!r} must be a timedelta such as timedelta(hours=2)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDelivery:
    """A request to send, and the verdict it deserves.

    Attributes:
        headers: The headers.
        body: The body.
        id: The event's id.
        type: The event's type.
        count: How many times to send it.
        verdict: Whether the receiver should accept or reject ("refused") it.
        reason: The reason for the verdict, for people.
        url: The URL to send it to, if one was given. A sender may add a query parameter.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    id: str
    type: str
    count: int = 1
    verdict: Verdict = "accepted"
    reason: str = "genuine"
    url: str = ""


def make_deliveries(
    provider: Provider,
    event: str | Sequence[str] | Mapping[str, Any],
    faults: Faults,
    *,
    now: float,
    sender: str | None = None,
    data: Mapping[str, Any] | None = None,
    event_id: str | None = None,
    event_type: str | None = None,
    url: str = "",
) -> list[SignedDelivery]:
    """Return signed deliveries in the order in which to send them.

    Args:
        provider: The provider whose secrets sign.
        event: The type of a sample event, several types in the order in which they happen, or a whole payload.
        faults: The faults of the deliveries.
        now: The current time in milliseconds since the epoch.
        sender: The sender whose sample events are used. By default the provider's.
        data: Changes of the sample event's data, merged deeply. With data the type may be any.
        event_id: The id of the only event. By default it is new.
        event_type: The type of a whole payload, for senders that put it into a header.
        url: The URL to send them to, for senders that sign it.

    Raises:
        MissingSecretError: The provider has no secret that can sign.
        NotImplementedError: The provider cannot sign.
        ValueError: There is no such sample, or the arguments do not fit together.
    """
    signed_at = now if faults.late is None else now - faults.late / _MILLISECOND
    if isinstance(event, Mapping):
        if data is not None:
            raise ValueError("data changes a sample: put it into the payload, which is sent as it is")
        events = [whole_event(event, event_id=event_id, event_type=event_type)]
    else:
        if event_type is not None:
            raise ValueError("event_type goes with a whole payload: name the sample's type as the event")
        types = [event] if isinstance(event, str) else list(event)
        events = sample_events(sender or provider.name, types, data, now=signed_at, event_id=event_id)
    return _deliveries(provider, events, faults, signed_at, now, url)


def _deliveries(
    provider: Provider, events: list[SampleEvent], faults: Faults, signed_at: float, now: float, url: str
) -> list[SignedDelivery]:
    secret, is_foreign = _signing_secret(provider, faults.old_secret)
    deliveries: list[SignedDelivery] = []
    for event in _in_order(events, faults):
        delivery = _signed(provider, event, secret, signed_at, url)
        if is_foreign:
            delivery = _forged(delivery, "signed with another secret")
        elif _is_too_old(provider, delivery, now):
            delivery = _forged(delivery, "it is too old")
        if faults.tamper:
            body = _tampered(delivery.body)
            delivery = _forged(replace(delivery, body=body), "its body was altered after it was signed")
        deliveries.append(replace(delivery, count=faults.duplicate))
        if faults.fresh_id:
            deliveries.append(_under_fresh_id(provider, delivery))
    return deliveries


def _signing_secret(provider: Provider, is_old: bool) -> tuple[str, bool]:
    """Return the secret that signs, and whether the receiver does not have it."""
    available = provider.available_secrets()
    if not available:  # the provider says why it cannot sign
        return "", False
    if not is_old:
        return available[0].value, False
    if len(available) > 1:
        return available[-1].value, False
    # In the form of the strictest provider. The others take any text.
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(), True


def _in_order(events: list[SampleEvent], faults: Faults) -> list[SampleEvent]:
    if not faults.reorder:
        return events
    if len(events) < 2:
        raise ValueError("reorder needs two events or more: name several types")
    shuffled = random.Random(faults.seed).sample(events, len(events))
    return shuffled[::-1] if shuffled == events else shuffled


def _signed(provider: Provider, event: SampleEvent, secret: str, at: float, url: str) -> SignedDelivery:
    request = SignedRequest(body=event.body, url=url)
    try:
        request = provider.sign_request(request, secret=secret, event_id=event.id, event_type=event.type, now=at)
    except ValueError as error:
        raise MissingSecretError(f"A secret of {provider.name} is not a valid signing secret") from error
    others = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
    headers = {**others, "Content-Type": event.content_type}
    return SignedDelivery(headers=headers, body=request.body, id=event.id, type=event.type, url=request.url)


def _is_too_old(provider: Provider, delivery: SignedDelivery, now: float) -> bool:
    try:
        provider.verify_signature(delivery.headers, delivery.body, now=now, url=delivery.url)
    except VerificationError as error:
        return error.reason == "too-old"
    return False


def _tampered(body: bytes) -> bytes:
    """Return a body that can still be parsed and says something else."""
    if body.endswith(b"}"):
        return body[:-1] + (b"" if body == b"{}" else b",") + b'"tampered":true}'
    return body + b"&tampered=true"


def _under_fresh_id(provider: Provider, delivery: SignedDelivery) -> SignedDelivery:
    """Return the same delivery under another id. A signature over the former id no longer matches."""
    fresh = delivery.id[:-8] + secrets.token_hex(4)[: len(delivery.id)]
    headers = {name: fresh if value == delivery.id else value for name, value in delivery.headers.items()}
    body = delivery.body.replace(delivery.id.encode(), fresh.encode())
    if headers == delivery.headers and body == delivery.body:
        raise ValueError(f"fresh_id: a delivery of {delivery.type!r} carries no id that could be replaced")
    replayed = replace(delivery, headers=headers, body=body, id=fresh)
    if delivery.verdict == "refused":
        return replayed
    if provider.profile.id_is_signed:
        return _forged(replayed, "its id was altered after it was signed")
    return replace(replayed, reason='its id is not signed, so only dedupe="content" recognises it')


def _forged(delivery: SignedDelivery, reason: str) -> SignedDelivery:
    return replace(delivery, verdict="refused", reason=reason)
