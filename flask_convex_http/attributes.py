"""Errors for attributes that an object does not have, with the expression to write instead.

The classes of `ctx` call this from `__getattr__`. It stays an `AttributeError`, so `hasattr` and `getattr`
with a default work as usual, and type checkers do not see it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CAPITAL = re.compile(r"(?<=[a-z])([A-Z])")


def missing_attribute(owner: object, where: str, name: str, hints: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that does not exist.

    Args:
        owner: The object.
        where: The expression that users write for it, such as "ctx.db".
        name: The name of the attribute.
        hints: The expressions to write instead, by name.
    """
    kind = type(owner)
    snake_case = _CAPITAL.sub(r"_\1", name).lower()
    hint = hints.get(name) or hints.get(snake_case)
    if hint is None and snake_case != name and hasattr(kind, snake_case):
        hint = f"write {where}.{snake_case}"
    message = f"{kind.__name__!r} object has no attribute {name!r}"
    return AttributeError(f"{message}: {hint}" if hint else message, name=name, obj=owner)
