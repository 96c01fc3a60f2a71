"""Check the URLs of databases and blob stores. No other module parses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask_convex_http.config.locations import MEMORY, SQLITE, Location
from flask_convex_http.config.values import text
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.log import logger_of

logger = logger_of()

_POSTGRES = re.compile(r"postgres(?:ql)?://.*", re.DOTALL)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?")
#: The blob store beside the default database, and that of every database in earlier versions.
DEFAULT_STORAGE = "sqlite:///convex-files.db"
_TIMEOUT_IN_URL = re.compile(r"(sqlite:///[^?]+)\?timeout=(\d+(?:\.\d*)?)", re.ASCII)
#: What takes the place of the options that other libraries have in such URLs.
_SETTINGS_INSTEAD = {
    "sqlite": "set CONVEX_WRITE_TIMEOUT or CONVEX_DURABILITY where that was meant",
    "s3": "set AWS_REGION or AWS_ENDPOINT_URL where that was meant",
}


def parse_database_url(key: str, value: Any) -> str:
    """Check the URL of a database.

    Args:
        key: The setting or option that has the value, for the message.
        value: The value.

    Returns:
        The URL without surrounding blanks.

    Raises:
        ConfigurationError: The value is no URL of a SQLite file or a PostgreSQL database.
    """
    return _parse(key, value, _POSTGRES, "postgresql://user@host/database")


def parse_storage_url(key: str, value: Any) -> str:
    """Check the URL of a blob store.

    Args:
        key: The setting or option that has the value, for the message.
        value: The value.

    Returns:
        The URL without surrounding blanks.

    Raises:
        ConfigurationError: The value is no URL of a SQLite file or an S3 bucket.
    """
    return _parse(key, value, _BUCKET, "s3://bucket/prefix")


def timeout_as_setting(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config whose `timeout` in the URL of a SQLite file, known from `sqlite3.connect`, is a setting."""
    url = config.get("CONVEX_DATABASE_URL")
    found = _TIMEOUT_IN_URL.fullmatch(url.strip()) if isinstance(url, str) else None
    if found is None:
        return config
    if config.get("CONVEX_WRITE_TIMEOUT") is not None:
        raise ConfigurationError("CONVEX_DATABASE_URL has a timeout, and CONVEX_WRITE_TIMEOUT is set too: keep one")
    return {**config, "CONVEX_DATABASE_URL": found[1], "CONVEX_WRITE_TIMEOUT": float(found[2])}


def storage_beside(database_url: str, folder: Path | None) -> str:
    """Return the URL of the blob store beside a database, or of the one that an earlier version made elsewhere."""
    if database_url == MEMORY:
        return MEMORY
    if not database_url.startswith(SQLITE):
        return DEFAULT_STORAGE
    database = Path(database_url.removeprefix(SQLITE))
    beside = f"{SQLITE}{database.with_name(f'{database.stem}-files{database.suffix}')}"
    if folder is None or beside == DEFAULT_STORAGE:
        return beside
    new, old = Location.parse(beside, folder).path, Location.parse(DEFAULT_STORAGE, folder).path
    if new is None or old is None or new.exists() or not old.exists():
        return beside
    logger.warning(
        "The bytes of files are in %s, where earlier versions kept them, and not beside the database; set "
        "CONVEX_STORAGE_URL=%s%s to keep them there",
        old,
        SQLITE,
        old.absolute(),
    )
    return DEFAULT_STORAGE


def _parse(key: str, value: Any, other: re.Pattern[str], example: str) -> str:
    """Check a URL of a SQLite file or of another form, for which an example is given."""
    url = text(key, value)
    _refuse_options(key, url)
    if not _names_a_file(url) and not other.fullmatch(url):
        raise _wrong_url(key, url, example)
    return url


def _refuse_options(key: str, url: str) -> None:
    """Refuse the options of other libraries, which would become a part of the file's name. libpq checks its own."""
    scheme = url.partition("://")[0]
    place, mark, options = url.partition("?")
    if not mark or scheme not in _SETTINGS_INSTEAD:
        return
    names = ", ".join(option.partition("=")[0] for option in options.split("&"))  # a value may be a secret
    raise ConfigurationError(
        f"{key} must end before the question mark, since {scheme}:// URLs have no such option ({names}): write {place} "
        f"and {_SETTINGS_INSTEAD[scheme]}"
    )


def _names_a_file(url: str) -> bool:
    return re.fullmatch(r"sqlite:///(?!~).*[^/]", url) is not None  # no folder, and no home, which only a shell knows


def _wrong_url(key: str, url: str, other: str) -> ConfigurationError:
    scheme, separator, _ = url.partition("://")  # the rest may have a password
    given = f", not {scheme}://..." if separator else ""
    return ConfigurationError(
        f"{key} must look like sqlite:///convex.db, sqlite:////absolute/path.db or {other}{given}"
    )
