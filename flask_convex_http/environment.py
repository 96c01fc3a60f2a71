"""Settings from environment variables, for apps whose config lacks them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from flask_convex_http.config import PARSERS
from flask_convex_http.errors import ConfigurationError

#: The prefixes of environment variables, the first one that Flask reads too.
_PREFIXES = ("FLASK_", "")


def with_environment(config: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return a Flask config with the settings of environment variables that it lacks.

    `FLASK_CONVEX_...` comes before `CONVEX_...`. So an app that does not call `app.config.from_prefixed_env()` stores
    its data where its environment says. An app with `TESTING` ignores the environment. A variable that is almost a
    setting is a key without a value, so that it is warned about.

    Args:
        config: The config, whose keys come first.
        variables: The environment variables. An empty one is not set.
    """
    result = dict(config)
    if result.get("TESTING"):
        return result
    for key in PARSERS:
        text = next((text for prefix in _PREFIXES if (text := variables.get(prefix + key))), None)
        if key not in result and text is not None:
            result[key] = _decoded(key, text)
    for key in _misspelt(variables):
        result.setdefault(key, None)  # `Settings` warns about it
    return result


def _misspelt(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the keys of variables that are almost a setting. Others may belong to another program."""
    for name in variables:
        key = name.removeprefix(_PREFIXES[0])
        if key.startswith("CONVEX_") and key not in PARSERS and difflib.get_close_matches(key, PARSERS, 1, 0.9):
            yield key


def _decoded(key: str, text: str) -> Any:
    """Return the JSON value of a variable as Flask does, or its text if the setting does not accept that value."""
    with suppress(ValueError, ConfigurationError):
        value = json.loads(text)
        PARSERS[key](key, value)
        return value
    return text
