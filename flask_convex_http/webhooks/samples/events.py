"""Realistic events of each sender, made up, for tests: the bodies; signing them is `deliveries`' business.

The events are the JSON files beside this, one for each sender, in the shapes that the page named there documents. Who
is in them (a customer, a user, a repository, a product) is the same in all samples of a sender. What happens is new
each time: ids of events, sessions, payments, orders, commits and messages, and all times. Events that are made together
are about the same session, payment or order, and are a second apart, the last one now.

What a test wants otherwise it gives as `data`, which is merged deeply: objects field by field, everything else in place
of what was there. It goes into Stripe's `data.object`, into Slack's `event`, into `data` of Clerk, Resend, Svix and
Standard Webhooks, and into the payload itself for GitHub, Shopify, a generic sender, Stripe's thin events, and Slack's
commands and interactions.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import msgspec

from flask_convex_http.webhooks.samples.placeholders import Placeholders

Payload = Mapping[str, Any]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

#: All senders there are samples of, and the provider that verifies each.
SENDERS = {
    "stripe": "stripe",
    "github": "github",
    "svix": "svix",
    "clerk": "svix",
    "resend": "svix",
    "standard": "standard",
    "slack": "slack",
    "shopify": "shopify",
    "hmac": "hmac",
}
_GENERIC = "hmac"
_SECOND = 1000
#: Of how much less likeness, from 0 to 1, a name is suggested beside the most like one.
_NEARLY = 0.1
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Sample:
    """One event, ready to be signed.

    Attributes:
        body: What is sent.
        id: The event's id, which is in the body or goes into a header.
        type: The event's type, which is in the body or goes into a header.
        content_type: What the body is.
    """

    body: bytes = field(repr=False)
    id: str
    type: str
    content_type: str = JSON


def names(provider: str) -> list[str]:
    """The types of event there are samples of.

    Args:
        provider: A sender, such as clerk, or a provider's name, such as svix, which has those of all that send through
            it. Any other name has what a generic sender has.
    """
    return sorted(name for sender in _senders(provider) for name in _catalogue(sender)["events"])


def event(provider: str, type: str, data: Payload | None = None, *, now: float, event_id: str | None = None) -> Sample:
    """A new event.

    Args:
        provider: As for `names`.
        type: The event's type. If there is no sample of it, `data` is all that is in the sender's usual envelope.
        data: What is to be otherwise.
        now: When it happens, in milliseconds since the epoch.
        event_id: Its id; a new one if not given.

    Raises:
        ValueError: There is no sample of that type, and no data.
    """
    return events(provider, [type], data, now=now, event_id=event_id)[0]


def events(
    provider: str, types: Sequence[str], data: Payload | None = None, *, now: float, event_id: str | None = None
) -> list[Sample]:
    """New events that belong together, each a second after the one before.

    Args:
        provider: As for `names`.
        types: Their types, in the order in which they happen.
        data: What is to be otherwise, in each of them.
        now: When the last one happens, in milliseconds since the epoch.
        event_id: The id of the only one; new ones if not given.

    Raises:
        ValueError: There is no sample of a type, and no data; or several events are to have one id.
    """
    if event_id is not None and len(types) != 1:
        raise ValueError(f"event_id={event_id!r} is for one event, not for {len(types)}")
    if data is not None and not isinstance(data, Mapping):
        raise ValueError(f"The data of an event must be an object such as {{'id': 'x'}}, not {data!r}")
    known: dict[str, str] = {}
    return [
        _make(provider, type, data, Placeholders(now - _SECOND * (len(types) - place), known), event_id)
        for place, type in enumerate(types, 1)
    ]


def whole(provider: str, payload: Payload, *, event_id: str | None = None, event_type: str | None = None) -> Sample:
    """An event whose payload is given as it is.

    Args:
        provider: As for `names`.
        payload: All of the body; it is sent as JSON.
        event_id: The id, for senders that put it into a header. If not given it is the payload's, or a new one.
        event_type: The type, for senders that put it into a header; the payload's `type` if not given.
    """
    given = event_id or payload.get("id") or payload.get("event_id")
    type = event_type if event_type is not None else payload.get("type")
    return Sample(
        body=msgspec.json.encode(payload),
        id=given if isinstance(given, str) else str(uuid.uuid4()),
        type=type if isinstance(type, str) else "",
    )


def _make(provider: str, type: str, data: Payload | None, placeholders: Placeholders, event_id: str | None) -> Sample:
    senders = _senders(provider)
    catalogue = next((c for c in map(_catalogue, senders) if type in c["events"]), _catalogue(senders[0]))
    described = _described(catalogue, type)
    if described is None and data is None:
        raise ValueError(_unknown(provider, type))
    described = described or {}
    given = event_id or str(placeholders.fill(described.get("id", catalogue["id"])))
    placeholders = placeholders.of_event(given, type, catalogue.get("parts", {}))
    if "payload" in described:
        payload = merged(placeholders.fill(described["payload"]), data or {})
    else:
        template = merged(catalogue["envelope"], described.get("envelope", {}))
        inner = merged(placeholders.fill(_data(catalogue, described)), data or {})
        payload = _placed(placeholders.fill(template), catalogue["at"], inner)
    return _sample(payload, given, type, described.get("form"))


def _sample(payload: dict[str, Any], id: str, type: str, form: str | None) -> Sample:
    encoded = msgspec.json.encode(payload)
    if form is None:
        return Sample(encoded, id, type)
    fields = payload if form == "fields" else {form: encoded.decode()}
    return Sample(urlencode(fields).encode(), id, type, FORM)


def merged(base: Payload, changes: Payload) -> dict[str, Any]:
    """An object with changes in it: objects are merged field by field, everything else takes the place of what was."""
    result = dict(base)
    for name, value in changes.items():
        before = result.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return result


def _placed(payload: dict[str, Any], at: list[str], inner: dict[str, Any]) -> dict[str, Any]:
    """The payload with the event's own data where it belongs."""
    for name in reversed(at):
        inner = {name: inner}
    return merged(payload, inner)


def _described(catalogue: dict[str, Any], type: str) -> dict[str, Any] | None:
    described = catalogue["events"].get(type)
    if described is not None:
        return dict(described)
    like = next((name for prefix, name in catalogue.get("prefixes", {}).items() if type.startswith(prefix)), None)
    return None if like is None else dict(catalogue["events"][like])


def _data(catalogue: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    like = described.get("like")
    base = {} if like is None else catalogue["events"][like]["data"]
    return merged(base, described.get("data", {}))


def _unknown(provider: str, type: str) -> str:
    known = names(provider)
    near = _near(type, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
    shown = type if len(type) <= _LONGEST_SHOWN else f"{type[:_LONGEST_SHOWN]}..."
    return (
        f"There is no sample of {shown!r} from {provider}: {hint} With data an event of any type is made: give "
        "--data '{}' on the command line, data={} in code"
    )


def _near(type: str, known: list[str]) -> list[str]:
    """The names that a misspelt one may be: the most like it, and those that are nearly as like."""
    found = difflib.get_close_matches(type, known, n=3, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(None, name, type).ratio() for name in found]
    return [name for name, ratio in zip(found, likeness, strict=True) if ratio > likeness[0] - _NEARLY]


def _senders(provider: str) -> list[str]:
    through = [sender for sender, verifier in SENDERS.items() if verifier == provider]
    if len(through) > 1:
        return through
    return [provider if provider in SENDERS else _GENERIC]


@cache
def _catalogue(sender: str) -> dict[str, Any]:
    text = (files(__package__) / f"{sender}.json").read_bytes()
    catalogue: dict[str, Any] = msgspec.json.decode(text)
    return catalogue
