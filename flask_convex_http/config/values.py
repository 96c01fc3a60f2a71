"""Check the values of settings.

Each function takes the key, for the message, and the value. It returns the value as `Settings` has it, and raises a
`ConfigurationError` if the value is wrong.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from flask_convex_http.durations import duration_of
from flask_convex_http.errors import ConfigurationError


def text(key: str, value: Any) -> str:
    """Check a text, and return it without surrounding blanks."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{key} must be a text that is not empty")
    return value.strip()


def secret_text(key: str, value: Any) -> str:
    """Check a signing key or a token, which has 32 characters or more."""
    if not isinstance(value, str) or len(value) < 32:
        raise ConfigurationError(
            f"{key} must be a text of 32 characters or more; make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return value


def site_url(key: str, value: Any) -> str:
    """Check the URL of a site, and return it without a slash at its end."""
    url = text(key, value).rstrip("/")
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", url):
        raise ConfigurationError(f"{key} must look like https://example.com")
    return url


def byte_count(key: str, value: Any) -> int:
    """Check a number of bytes."""
    return count(key, value, "a number of bytes")


def levels(key: str, value: Any) -> int:
    """Check a number of levels of nesting."""
    if count(key, value) > 64:
        raise ConfigurationError(f"{key} must be 64 or less, which is the limit of values")
    return int(value)


def key_prefix(key: str, value: Any) -> str:
    """Check the first letters of API keys."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9]{0,15}", value):
        raise ConfigurationError(f"{key} must be 1 to 16 lower-case letters and digits, and must start with a letter")
    return value


def invalid_status(key: str, value: Any) -> int:
    """Check the status of the response to invalid credentials, 401 or 403."""
    if isinstance(value, bool) or value not in (401, 403):
        raise ConfigurationError(f"{key} must be 401 or 403")
    return int(value)


def durability(key: str, value: Any) -> str:
    """Check the durability, "full" or "normal"."""
    if value not in ("full", "normal"):
        raise ConfigurationError(f'{key} must be "full" or "normal"')
    return str(value)


def seconds(key: str, value: Any) -> float:
    """Check a number of seconds."""
    return _number(key, value, "seconds, more than 0 and at most 3600", most=3600)


def switch(key: str, value: Any) -> str:
    """Check an "on" or "off"."""
    if isinstance(value, bool):  # Flask reads true and false in environment variables as booleans
        return "on" if value else "off"
    if value not in ("on", "off"):
        raise ConfigurationError(f'{key} must be "on" or "off", not {value!r}')
    return str(value)


def lease(key: str, value: Any) -> float:
    """Check the number of seconds of a lease."""
    return _number(key, value, "seconds, 0.5 to 3600", least=0.5, most=3600)


def days(key: str, value: Any) -> float:
    """Check a number of days."""
    return _number(key, value, "days, more than 0 and at most 36525", most=36525)


def history(key: str, value: Any) -> str:
    """Check a duration or "off"."""
    if value is False or value == "off":  # Flask reads false in environment variables as a boolean
        return "off"
    retention = duration_of(value) if isinstance(value, str) else value
    if not isinstance(retention, timedelta) or not timedelta(seconds=1) <= retention <= timedelta(days=36525):
        raise ConfigurationError(f'{key} must be a duration such as "7d" or "12h" (s, m, h, d or w), or "off"')
    return value.strip() if isinstance(value, str) else f"{int(retention.total_seconds())}s"


def log_format(key: str, value: Any) -> str:
    """Check the format of the log."""
    if value not in ("text", "json", "records"):
        raise ConfigurationError(f'{key} must be "text", "json" or "records", not {value!r}')
    return str(value)


def log_rows(key: str, value: Any) -> int:
    """Check the number of log records to keep."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000_000:
        raise ConfigurationError(f"{key} must be a number of records, 0 to 10000000")
    return value


def _number(key: str, value: Any, unit: str, *, least: float = 0.0, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value > 0 or not least <= value <= most:
        raise ConfigurationError(f"{key} must be a number of {unit}")
    return float(value)


def count(key: str, value: Any, noun: str = "a whole number") -> int:
    """Check a whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} must be {noun}, 1 or more")
    return value
