"""What is new in each sample event: ids and times, written `${...}` in the files of samples.

| Placeholder | Stands for |
| --- | --- |
| `${letters24}`, `${capitals9}`, `${digits15}`, `${hex40}` | that many random characters; digits alone are a number |
| `${uuid}` | a random UUID |
| `${digits15:order}` | the same, and the same again wherever `order` is named, in all events made together |
| `${seconds}`, `${milliseconds}` | the time of the event since the epoch, a number where it stands alone |
| `${time}`, `${date}` | the same in ISO 8601, with and without milliseconds |
| `${seconds-60}` | a time that many seconds before or after |
| `${event}`, `${type}` | the event's id and type |

An object `{"$part": "repository"}` stands for the part of that name.
"""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_PLACEHOLDER = re.compile(r"\$\{([a-z]+)([0-9]*)(?::([a-z_]+))?([+-][0-9]+)?\}")
_ALPHABETS = {
    "letters": string.ascii_letters + string.digits,
    "capitals": string.ascii_uppercase + string.digits,
    "digits": string.digits,
    "hex": "0123456789abcdef",
}
_NUMBERS = ("digits", "seconds", "milliseconds")
_PART = "$part"


class Placeholders:
    """Fills placeholders.

    Args:
        now: The time of the event, in milliseconds since the epoch.
        known: What names stand for; filled here, and shared by events that belong together.
    """

    def __init__(self, now: float, known: dict[str, str]) -> None:
        self._now = now
        self._known = known
        self._event: dict[str, str] = {}
        self._parts: Mapping[str, Any] = {}

    def of_event(self, id: str, type: str, parts: Mapping[str, Any]) -> Placeholders:
        """The same for one event, whose id and type are known."""
        filled = Placeholders(self._now, self._known)
        filled._event = {"event": id, "type": type}
        filled._parts = parts
        return filled

    def fill(self, value: Any) -> Any:
        """A copy of a value with all placeholders filled in."""
        if isinstance(value, Mapping):
            if _PART in value:
                return self.fill(self._parts[value[_PART]])
            return {name: self.fill(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str | int:
        alone = _PLACEHOLDER.fullmatch(text)
        if alone is not None and alone[1] in _NUMBERS:
            return int(self._one(alone))
        return _PLACEHOLDER.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        kind, size, name, offset = match.groups()
        if kind in self._event:
            return self._event[kind]
        if kind in _ALPHABETS or kind == "uuid":
            return self._random(kind, int(size or 0), name)
        return self._time(kind, self._now + 1000 * int(offset or 0))

    def _random(self, kind: str, size: int, name: str | None) -> str:
        new = str(uuid.uuid4()) if kind == "uuid" else _characters(kind, size)
        return new if name is None else self._known.setdefault(name, new)

    def _time(self, kind: str, milliseconds: float) -> str:
        if kind == "seconds":
            return str(int(milliseconds // 1000))
        if kind == "milliseconds":
            return str(int(milliseconds))
        moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
        text = moment.isoformat(timespec="milliseconds" if kind == "time" else "seconds")
        return text.replace("+00:00", "Z")


def _characters(kind: str, size: int) -> str:
    characters = random.SystemRandom().choices(_ALPHABETS[kind], k=size)
    if kind == "digits" and characters[0] == "0":
        characters[0] = "1"  # a number with that many digits
    return "".join(characters)
