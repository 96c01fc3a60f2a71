"""Settings: the CONVEX_ keys of `app.config`, parsed once into a frozen value.

What a deployment may change is here; how the application behaves is said in code. A bad value fails at start and
the message names its key, never a secret's value.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask_convex_http.errors import ConfigurationError

logger = logging.getLogger("flask_convex_http")

MIB = 2**20
#: A temporary database.
MEMORY = "sqlite:///:memory:"
SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment may set; each field is the key in lower case without CONVEX_.

    Attributes:
        database_url: `sqlite:///` and a path, relative ones below the instance folder and `:memory:` temporary; or
            `postgresql://...`, as libpq takes it.
        database_connections: How many connections to PostgreSQL one process has at most.
        storage_url: Where the bytes of files are: `sqlite:///` and a path that is not the database's, or
            `s3://bucket/prefix`.
        storage_redirect: "on": who reads a file is sent to where it is, if the store can sign URLs. "off": the app
            passes all bytes on.
        secret: What API keys and URLs are signed with; None to use the one made at the first migration.
        site_url: Where clients reach the app, such as https://example.com; None to go by the request.
        max_body_bytes: The largest request body of a route that sets no limit of its own.
        max_upload_bytes: The largest file that an upload URL takes.
        api_key_prefix: What API keys start with.
        durability: "full": what was answered is on the disk. "normal": a power cut may undo the last moments.
        write_timeout: Seconds a write waits for its turn before the client is asked to come back.
        write_queue: How many writes of one process may wait; one more is asked to come back at once.
        worker: "on": serving processes run what is scheduled. "off": `flask convex worker` does that apart.
        worker_actions: How many scheduled actions one worker runs at the same time.
        worker_lease: Seconds after which the actions of a worker that shows no sign of life are taken for lost.
        scheduled_retention_days: How long scheduled functions are kept after they have ended.
    """

    database_url: str = field(default="sqlite:///convex.db", repr=False)
    database_connections: int = 10
    storage_url: str = "sqlite:///convex-files.db"
    storage_redirect: str = "on"
    secret: str | None = field(default=None, repr=False)
    site_url: str | None = None
    max_body_bytes: int = 20 * MIB
    max_upload_bytes: int = 1024 * MIB
    api_key_prefix: str = "cvx"
    durability: str = "full"
    write_timeout: float = 10.0
    write_queue: int = 1000
    worker: str = "on"
    worker_actions: int = 8
    worker_lease: float = 30.0
    scheduled_retention_days: float = 7.0

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> Settings:
        """Parse the CONVEX_ keys of a Flask config.

        Raises:
            ConfigurationError: A value is wrong; the message names the key.
        """
        values: dict[str, Any] = {}
        for key in sorted(key for key in config if key.startswith("CONVEX_")):
            parse = _PARSERS.get(key)
            if parse is None:
                _warn_unknown(key)
            elif config[key] is not None:
                values[key.removeprefix("CONVEX_").lower()] = parse(key, config[key])
        if values.get("database_url") == MEMORY:
            values.setdefault("storage_url", MEMORY)
        settings = cls(**values)
        if settings.database_url != MEMORY and Path(settings.storage_url) == Path(settings.database_url):
            raise ConfigurationError("CONVEX_STORAGE_URL must name another file than CONVEX_DATABASE_URL")
        return settings


def is_sqlite(url: str) -> bool:
    """Whether a URL names a file of SQLite's."""
    return url.startswith(SQLITE)


def shown_url(url: str) -> str:
    """A URL of a setting as people may see it: without what may be a password."""
    scheme, _, rest = url.partition("://")
    if is_sqlite(url) or scheme == "s3":
        return url
    place = rest.partition("?")[0].rpartition("@")[2]
    return f"{scheme}://{place}"


def sqlite_path(url: str, folder: Path) -> Path | None:
    """The file a `sqlite:///` URL names, None for a temporary one."""
    path = url.removeprefix(SQLITE)
    return None if path == ":memory:" else folder / path


def _warn_unknown(key: str) -> None:
    near = difflib.get_close_matches(key, _PARSERS, n=1)
    logger.warning("%s is not a setting of flask_convex_http%s", key, f"; did you mean {near[0]}?" if near else "")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{key} must be a text that is not empty")
    return value.strip()


def parse_database_url(key: str, value: Any) -> str:
    """Return the URL of a database.

    Args:
        key: The setting or option that has the value, for the message.
        value: The value.

    Raises:
        ConfigurationError: The value is no such URL.
    """
    url = _text(key, value)
    if not _names_a_file(url) and not url.startswith(_POSTGRES):
        raise _wrong_url(key, url, "postgresql://user@host/database")
    return url


def parse_storage_url(key: str, value: Any) -> str:
    """Return the URL of a blob store.

    Args:
        key: The setting or option that has the value, for the message.
        value: The value.

    Raises:
        ConfigurationError: The value is no such URL.
    """
    url = _text(key, value)
    if not _names_a_file(url) and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?", url):
        raise _wrong_url(key, url, "s3://bucket/prefix")
    return url


def _names_a_file(url: str) -> bool:
    return is_sqlite(url) and url != SQLITE


def _wrong_url(key: str, url: str, other: str) -> ConfigurationError:
    scheme, separator, _ = url.partition("://")  # the rest may hold a password
    given = f", not {scheme}://..." if separator else ""
    return ConfigurationError(
        f"{key} must look like sqlite:///convex.db, sqlite:////absolute/path.db or {other}{given}"
    )


def _secret(key: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) < 32:
        raise ConfigurationError(
            f"{key} must be a text of 32 characters or more; make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return value


def _site(key: str, value: Any) -> str:
    url = _text(key, value).rstrip("/")
    if not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", url):
        raise ConfigurationError(f"{key} must look like https://example.com")
    return url


def _bytes(key: str, value: Any) -> int:
    return _count(key, value, "a number of bytes")


def _prefix(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9]{0,15}", value):
        raise ConfigurationError(f"{key} must be 1 to 16 lower-case letters and digits")
    return value


def _durability(key: str, value: Any) -> str:
    if value not in ("full", "normal"):
        raise ConfigurationError(f'{key} must be "full" or "normal"')
    return str(value)


def _seconds(key: str, value: Any) -> float:
    return _number(key, value, "seconds, more than 0 and at most 3600", most=3600)


def _switch(key: str, value: Any) -> str:
    if isinstance(value, bool):  # as the environment's true and false are read
        return "on" if value else "off"
    if value not in ("on", "off"):
        raise ConfigurationError(f'{key} must be "on" or "off", not {value!r}')
    return str(value)


def _lease(key: str, value: Any) -> float:
    return _number(key, value, "seconds, 0.5 to 3600", least=0.5, most=3600)


def _days(key: str, value: Any) -> float:
    return _number(key, value, "days, more than 0 and at most 36525", most=36525)


def _number(key: str, value: Any, what: str, *, least: float = 0.0, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value > 0 or not least <= value <= most:
        raise ConfigurationError(f"{key} must be a number of {what}")
    return float(value)


def _count(key: str, value: Any, what: str = "a whole number") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} must be {what}, 1 or more")
    return value


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "CONVEX_DATABASE_URL": parse_database_url,
    "CONVEX_DATABASE_CONNECTIONS": _count,
    "CONVEX_STORAGE_URL": parse_storage_url,
    "CONVEX_STORAGE_REDIRECT": _switch,
    "CONVEX_SECRET": _secret,
    "CONVEX_SITE_URL": _site,
    "CONVEX_MAX_BODY_BYTES": _bytes,
    "CONVEX_MAX_UPLOAD_BYTES": _bytes,
    "CONVEX_API_KEY_PREFIX": _prefix,
    "CONVEX_DURABILITY": _durability,
    "CONVEX_WRITE_TIMEOUT": _seconds,
    "CONVEX_WRITE_QUEUE": _count,
    "CONVEX_WORKER": _switch,
    "CONVEX_WORKER_ACTIONS": _count,
    "CONVEX_WORKER_LEASE": _lease,
    "CONVEX_SCHEDULED_RETENTION_DAYS": _days,
}
