"""Sample events: the bodies of test deliveries, new each time.

Each JSON file beside this module has the events of one sender, in the shapes that the page in `docs` documents:

* `envelope` is what surrounds the data of every event, `at` is the path to the data in it.
* An event has its `data`, perhaps on top of that of another event (`like`), or its whole `payload`.
* `{"$part": "repository"}` stands for the part of that name in `parts`.
* With `batch` the sender puts its events into a list.
* `prefixes` names the event whose shape any type with that prefix has.

The people, repositories and products are the same in all events of a sender. Placeholders make the rest new each time:

| Placeholder | Value |
| --- | --- |
| `${letters24}`, `${capitals9}`, `${digits15}`, `${hex40}` | that many random characters; digits alone are a number |
| `${uuid}` | a random UUID |
| `${digits15:order}` | the value that `order` has in all events that are made together |
| `${seconds}`, `${milliseconds}`, `${time}`, `${date}` | the event's time: since the epoch, a number, or in ISO 8601 |
| `${seconds-60}` | a time that many seconds earlier or later |
| `${event}`, `${type}` | the event's id and type |
"""

from __future__ import annotations

import difflib
import json
import random
import re
import string
import uuid
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import msgspec

from flask_convex_http.webhooks.providers import FILES

Payload = Mapping[str, Any]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

#: The senders with sample events, and the provider that verifies each.
SENDERS = {file: file for file in FILES.values()} | {
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
_LONGEST_SHOWN = 80

_PLACEHOLDER = re.compile(r'(")?\$\{([a-z]+)([0-9]*)(?::([a-z_]+))?([+-][0-9]+)?\}(?(1)"|)')
_NUMBERS = ("digits", "seconds", "milliseconds")
_ALPHABETS = {
    "letters": string.ascii_letters + string.digits,
    "capitals": string.ascii_uppercase + string.digits,
    "digits": string.digits[1:],
    "hex": "0123456789abcdef",
}


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """The body of an event, and what its sender may put into headers.

    Attributes:
        body: The body.
        id: The event's id, which is also in the body or goes into a header.
        type: The event's type, which is also in the body or goes into a header.
        content_type: The body's media type.
    """

    body: bytes = field(repr=False)
    id: str
    type: str
    content_type: str = JSON


def event_types(sender: str) -> list[str]:
    """Return the types of the sample events of a sender, in order.

    Args:
        sender: A sender such as clerk, or a provider such as svix, which has the events of all its senders. A name
            without samples has the generic ones of hmac.
    """
    return sorted(type for name in _catalogues_of(sender) for type in _catalogue(name)["events"])


def sample_events(
    sender: str, types: Sequence[str], data: Payload | None = None, *, now: float, event_id: str | None = None
) -> list[SampleEvent]:
    """Return new events that belong together, a second apart.

    Args:
        sender: The sender, as for `event_types`.
        types: The types of the events in the order in which they happen.
        data: Changes of each event's data, merged deeply. With data an event may have any type.
        now: The time of the last event, in milliseconds since the epoch.
        event_id: The id of the only event. By default ids are new.

    Raises:
        ValueError: A type has no sample and no data is given, or one id is given for several events.
    """
    if event_id is not None and len(types) != 1:
        raise ValueError(f"event_id={event_id!r} is for one event, not for {len(types)}")
    if data is not None and not isinstance(data, Mapping):
        raise ValueError(f"The data of an event must be an object such as {{'id': 'x'}}, not {data!r}")
    shared: dict[str, str] = {}
    return [
        _sample_event(sender, type, data, shared, now - _SECOND * (len(types) - place), event_id)
        for place, type in enumerate(types, 1)
    ]


def whole_event(payload: Payload, *, event_id: str | None = None, event_type: str | None = None) -> SampleEvent:
    """Return an event with a given payload.

    Args:
        payload: The whole body, sent as JSON.
        event_id: The id, for senders that put it into a header. By default the payload's id, or a new one.
        event_type: The type, for senders that put it into a header. By default the payload's `type`.
    """
    known_id = event_id or payload.get("id") or payload.get("event_id")
    type = event_type if event_type is not None else payload.get("type")
    return SampleEvent(
        body=msgspec.json.encode(payload),
        id=known_id if isinstance(known_id, str) else str(uuid.uuid4()),
        type=type if isinstance(type, str) else "",
    )


def merged(base: Payload, changes: Payload) -> dict[str, Any]:
    """Return an object with changes. Objects are merged field by field, every other value is replaced."""
    result = dict(base)
    for name, value in changes.items():
        before = result.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return result


# --- catalogues ------------------------------------------------------------------------------------------------------


def _sample_event(
    sender: str, type: str, data: Payload | None, shared: dict[str, str], now: float, event_id: str | None
) -> SampleEvent:
    names = _catalogues_of(sender)
    catalogue = next((one for one in map(_catalogue, names) if type in one["events"]), _catalogue(names[0]))
    template = _template(catalogue, type)
    if not template and data is None:
        raise ValueError(_no_sample(sender, type))
    event_id = event_id or str(_filled(template.get("id", catalogue["id"]), {}, now))
    values = ChainMap(shared, {"event": json.dumps(event_id)[1:-1], "type": json.dumps(type)[1:-1]})
    payload = _payload(catalogue, template, data or {}, lambda template: _filled(template, values, now))
    encoded = msgspec.json.encode([payload] if catalogue.get("batch") else payload)
    form = template.get("form")
    if form is None:
        return SampleEvent(encoded, event_id, type)
    fields = payload if form == "fields" else {form: encoded.decode()}
    return SampleEvent(urlencode(fields).encode(), event_id, type, FORM)


def _template(catalogue: Payload, type: str) -> Payload:
    """Return the catalogue's entry for a type, or an empty object."""
    events: dict[str, Payload] = catalogue["events"]
    same_shape = (name for prefix, name in catalogue.get("prefixes", {}).items() if type.startswith(prefix))
    return events.get(type) or events.get(next(same_shape, ""), {})


def _payload(catalogue: Payload, template: Payload, data: Payload, fill: Callable[[Payload], Payload]) -> Payload:
    if "payload" in template:
        return merged(fill(template["payload"]), data)
    base = catalogue["events"][template["like"]]["data"] if "like" in template else {}
    inner = merged(fill(merged(base, template.get("data", {}))), data)
    for name in reversed(catalogue["at"]):
        inner = {name: inner}
    return merged(fill(merged(catalogue["envelope"], template.get("envelope", {}))), inner)


def _no_sample(sender: str, type: str) -> str:
    known = event_types(sender)
    similar = difflib.get_close_matches(type, known)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"there are {', '.join(known)}."
    shown = type if len(type) <= _LONGEST_SHOWN else f"{type[:_LONGEST_SHOWN]}..."
    return (
        f"There is no sample of {shown!r} from {sender}: {hint} With data an event may have any type: give "
        "--data '{}' on the command line, data={} in code"
    )


def _catalogues_of(sender: str) -> list[str]:
    senders = [name for name, provider in SENDERS.items() if provider == sender]
    if len(senders) > 1:
        return senders
    return [sender if sender in SENDERS else _GENERIC]


@cache
def _catalogue(sender: str) -> dict[str, Any]:
    catalogue = json.loads((files(__package__) / f"{sender}.json").read_bytes())
    with_parts: dict[str, Any] = _with_parts(catalogue, catalogue.get("parts", {}))
    return with_parts


def _with_parts(value: Any, parts: Payload) -> Any:
    if isinstance(value, list):
        return [_with_parts(inner, parts) for inner in value]
    if not isinstance(value, dict):
        return value
    if "$part" in value:
        return _with_parts(parts[value["$part"]], parts)
    return {name: _with_parts(inner, parts) for name, inner in value.items()}


# --- placeholders ----------------------------------------------------------------------------------------------------


def _filled(template: Any, values: MutableMapping[str, str], now: float) -> Any:
    """Return a template with its placeholders replaced. Named values are taken from `values`, or added to them."""

    def value_of(match: re.Match[str]) -> str:
        quote, kind, size, name, offset = match.groups()
        value = values.get(name or kind) or _new_value(kind, int(size or 0), now + _SECOND * int(offset or 0))
        if name:
            values[name] = value
        return f'"{value}"' if quote and kind not in _NUMBERS else value

    return json.loads(_PLACEHOLDER.sub(value_of, json.dumps(template)))


def _new_value(kind: str, size: int, time: float) -> str:
    if kind == "uuid":
        return str(uuid.uuid4())
    if kind in _ALPHABETS:
        return "".join(random.SystemRandom().choices(_ALPHABETS[kind], k=size))
    if kind in ("seconds", "milliseconds"):
        return str(int(time // (_SECOND if kind == "seconds" else 1)))
    moment = datetime.fromtimestamp(time / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds" if kind == "time" else "seconds").replace("+00:00", "Z")
