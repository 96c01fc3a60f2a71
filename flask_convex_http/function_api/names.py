"""Names on the wire: snake_case in Python, camelCase for clients.

A name keeps its underscores at both ends. Keys of dicts are data, and stay as they are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Literal

from flask_convex_http.errors import RegistrationError

Casing = Literal["camel"] | None

_WORD = re.compile(r"(?<=[A-Za-z0-9])_+([A-Za-z0-9])")
_PATH_FIELD = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)")


@functools.lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """Return a name in camelCase."""
    return _WORD.sub(lambda match: match[1].upper(), name)


def wire_name(name: str, casing: Casing) -> str:
    """Return the name of a field or an argument as clients write it."""
    return camel(name) if casing else name


def wire_path(name: str, casing: Casing) -> str:
    """Return the name of a function as clients write it: `user_items:list_all` is `userItems:listAll`."""
    if casing is None:
        return name
    module, _, function = name.partition(":")
    return f"{'/'.join(map(camel, module.split('/')))}:{camel(function)}"


def wire_message(message: str, casing: Casing) -> str:
    """Return the message of a validation with the path of the value as the client wrote it."""
    text, separator, path = message.rpartition(" - at `$")
    if casing is None or not separator:
        return message
    path = _PATH_FIELD.sub(lambda match: f".{camel(match[1])}", path)
    if text.startswith("Missing required field `"):
        text = f"Missing required field `{camel(text.split('`')[1])}`"
    return f"{text}{separator}{path}"


def check_distinct(names: Iterable[str], casing: Casing, where: str) -> None:
    """Check that names differ on the wire.

    Args:
        names: The names in Python.
        casing: The casing on the wire.
        where: The thing that they belong to, for the message.

    Raises:
        RegistrationError: Two names are one on the wire.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(wire_name(name, casing), name)
        if other != name:
            raise RegistrationError(
                f"{where}: {other} and {name} are both {camel(name)!r} to clients; rename one, or write "
                "FunctionApi(casing=None)"
            )
