"""Settings: the `CONVEX_` keys of `app.config`, parsed once into a frozen value.

Settings differ between deployments. A bad value fails at start, and the message names the key but never the value of a
secret. No other module parses the URL of a database or a blob store.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask_convex_http.durations import duration_of
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.log import logger_of

logger = logger_of()

MIB = 2**20
#: The URL of a temporary database or blob store.
MEMORY = "sqlite:///:memory:"
_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
#: The blob store beside the default database, and that of every database in earlier versions.
_FILES = "sqlite:///convex-files.db"
_TIMEOUT_IN_URL = re.compile(r"(sqlite:///[^?]+)\?timeout=(\d+(?:\.\d*)?)", re.ASCII)
#: What takes the place of the options that other libraries have in such URLs.
_SETTINGS_INSTEAD = {
    "sqlite": "set CONVEX_WRITE_TIMEOUT or CONVEX_DURABILITY where that was meant",
    "s3": "set AWS_REGION or AWS_ENDPOINT_URL where that was meant",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment. Each field is a key in lower case without `CONVEX_`.

    Attributes:
        database_url: `sqlite:///` and a path, or a PostgreSQL URL as libpq takes it. A relative path is below the
            instance folder, and `:memory:` is a temporary database.
        database_connections: The largest number of PostgreSQL connections of one process.
        storage_url: The blob store for the bytes of files: `sqlite:///` and another path than the database's, or
            `s3://bucket/prefix`. By default it is beside a SQLite database: `shop-files.db` beside `shop.db`.
        storage_redirect: "on" redirects the readers of a file to the blob store, if that can sign URLs. "off" passes
            all bytes through the app.
        secret: The key that signs API keys and URLs; None for the one that the first migration creates.
        site_url: The URL at which clients reach the app, such as https://example.com; None for the one of each request.
        files_url: The URL at which clients reach the app for files only, so that they have an origin of their own, such
            as https://files.example.com; None for `site_url`.
        max_body_bytes: The largest request body, for routes without a limit of their own.
        max_json_bytes: The largest body that is parsed as JSON, for routes without a limit of their own.
        max_form_bytes: The largest text of a form in all, without its files, for routes without a limit of their own.
        max_form_fields: The largest number of a form's fields and files, for routes without a limit of their own.
        max_upload_bytes: The largest file that an upload URL accepts.
        api_key_prefix: The first letters of API keys.
        invalid_credential_status: The status of the response to an invalid key or token, 401 or 403.
        durability: "full" syncs each commit to the disk. "normal" may lose the last commits in a power cut.
        write_timeout: Seconds that a write waits for other writes before the response is 503.
        max_document_bytes: The largest size of a document, unless its class has `max_bytes=`.
        max_document_nesting: The largest number of levels of lists and objects in a document, itself included.
        max_read_bytes: The largest size of all documents that one function reads.
        max_return_bytes: The largest size of the value that a function returns.
        mutation_timeout: Seconds that a mutation may run before it is interrupted and rolled back.
        write_queue: The largest number of waiting writes in one process; the response to another one is 503.
        live_connections: The largest number of connections of live queries in one process.
        live_connections_per_address: The largest number of those that come from one address.
        worker: "on" runs jobs in the processes that serve requests. "off" leaves them to `flask convex worker`.
        worker_actions: The largest number of scheduled actions that one worker runs at the same time.
        worker_lease: Seconds without a heartbeat after which the actions of a worker are lost.
        scheduled_retention_days: Days that jobs are kept after they have ended.
        history: How long the commit log is kept, such as "7d"; "off" for no log.
        metrics_token: The token with which Prometheus reads the metrics; None for admin keys alone.
        log: "text" logs lines for people. "json" logs one JSON object a line, with a record for each request, function,
            job and delivery. "records" passes these records to the logging that the application has configured.
        log_rows: How many of the last log records are kept; 0 for none. None for 10,000 if the dashboard or the
            function API reads them, and none otherwise.
    """

    database_url: str = field(default="sqlite:///convex.db", repr=False)
    database_connections: int = 10
    storage_url: str = _FILES
    storage_redirect: str = "on"
    secret: str | None = field(default=None, repr=False)
    site_url: str | None = None
    files_url: str | None = None
    max_body_bytes: int = 20 * MIB
    max_json_bytes: int = 8 * MIB
    max_form_bytes: int = 4 * MIB
    max_form_fields: int = 10_000
    max_upload_bytes: int = 1024 * MIB
    api_key_prefix: str = "cvx"
    invalid_credential_status: int = 403
    durability: str = "full"
    write_timeout: float = 10.0
    max_document_bytes: int = 32 * MIB
    max_document_nesting: int = 32
    max_read_bytes: int = 64 * MIB
    max_return_bytes: int = 32 * MIB
    mutation_timeout: float = 30.0
    write_queue: int = 1000
    live_connections: int = 10_000
    live_connections_per_address: int = 1_000
    worker: str = "on"
    worker_actions: int = 8
    worker_lease: float = 30.0
    scheduled_retention_days: float = 7.0
    history: str = "7d"
    metrics_token: str | None = field(default=None, repr=False)
    log: str = "text"
    log_rows: int | None = None

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any], folder: Path | None = None) -> Settings:
        """Parse the `CONVEX_` keys of a Flask config. None stands for the default.

        Args:
            config: The config.
            folder: The folder of relative paths, which may have the blob store of an earlier version.

        Raises:
            ConfigurationError: A value is wrong. The message begins with its key.
        """
        values: dict[str, Any] = {}
        config = _with_timeout_of_url(config)
        for key in sorted(key for key in config if key.startswith("CONVEX_")):
            parse = PARSERS.get(key)
            if parse is None:
                _warn_unknown(key)
            elif config[key] is not None:
                values[key.removeprefix("CONVEX_").lower()] = parse(key, config[key])
        if "storage_url" not in values:
            values["storage_url"] = _default_storage(values.get("database_url", cls().database_url), folder)
        settings = cls(**values)
        if settings.database_url != MEMORY and Path(settings.storage_url) == Path(settings.database_url):
            raise ConfigurationError("CONVEX_STORAGE_URL must name another file than CONVEX_DATABASE_URL")
        return settings

    @property
    def history_retention(self) -> timedelta | None:
        """How long the commit log is kept; None for no log."""
        return duration_of(self.history)

    def database(self, folder: Path) -> Location:
        """Return the location of the database.

        Args:
            folder: The folder of relative paths.
        """
        return Location.parse(self.database_url, folder)

    def storage(self, folder: Path) -> Location:
        """Return the location of the blob store.

        Args:
            folder: The folder of relative paths.
        """
        return Location.parse(self.storage_url, folder)


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a database or a blob store. Its text has no password.

    Attributes:
        url: The URL.
        path: The SQLite file; None on a server or in a bucket, and for a temporary database.
    """

    url: str = field(repr=False)
    path: Path | None = None

    @classmethod
    def parse(cls, url: str, folder: Path) -> Location:
        """Parse the URL of a setting.

        Args:
            url: A URL that `Settings` accepts.
            folder: The folder of relative paths.
        """
        is_file = url.startswith(_SQLITE) and url != MEMORY
        return cls(url, folder / url.removeprefix(_SQLITE) if is_file else None)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, in a file or temporary."""
        return self.url.startswith(_SQLITE)

    @property
    def is_temporary(self) -> bool:
        """Whether the data is gone when it is closed."""
        return self.url == MEMORY

    @property
    def key(self) -> str:
        """A text that is the same for all URLs of one file or bucket."""
        return self.url.rstrip("/") if self.path is None else str(self.path.resolve())

    def __str__(self) -> str:
        return hide_password(self.url) if self.path is None else str(self.path)


def _with_timeout_of_url(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config whose `timeout` in the URL of a SQLite file, known from `sqlite3.connect`, is a setting."""
    url = config.get("CONVEX_DATABASE_URL")
    found = _TIMEOUT_IN_URL.fullmatch(url.strip()) if isinstance(url, str) else None
    if found is None:
        return config
    if config.get("CONVEX_WRITE_TIMEOUT") is not None:
        raise ConfigurationError("CONVEX_DATABASE_URL has a timeout, and CONVEX_WRITE_TIMEOUT is set too: keep one")
    return {**config, "CONVEX_DATABASE_URL": found[1], "CONVEX_WRITE_TIMEOUT": float(found[2])}


def _default_storage(database_url: str, folder: Path | None) -> str:
    """Return the URL of the blob store beside a database, or of the one that an earlier version made elsewhere."""
    if database_url == MEMORY:
        return MEMORY
    if not database_url.startswith(_SQLITE):
        return _FILES
    database = Path(database_url.removeprefix(_SQLITE))
    beside = f"{_SQLITE}{database.with_name(f'{database.stem}-files{database.suffix}')}"
    if folder is None or beside == _FILES:
        return beside
    new, old = Location.parse(beside, folder).path, Location.parse(_FILES, folder).path
    if new is None or old is None or new.exists() or not old.exists():
        return beside
    logger.warning(
        "The bytes of files are in %s, where earlier versions kept them, and not beside the database; set "
        "CONVEX_STORAGE_URL=%s%s to keep them there",
        old,
        _SQLITE,
        old.absolute(),
    )
    return _FILES


def hide_password(url: str) -> str:
    """Return a URL of a setting without its user, password and query."""
    scheme, _, rest = url.partition("://")
    if scheme in ("sqlite", "s3"):
        return url
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


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
    url = _text(key, value)
    _refuse_options(key, url)
    if not _names_a_file(url) and not url.startswith(_POSTGRES):
        raise _wrong_url(key, url, "postgresql://user@host/database")
    return url


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
    url = _text(key, value)
    _refuse_options(key, url)
    if not _names_a_file(url) and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?", url):
        raise _wrong_url(key, url, "s3://bucket/prefix")
    return url


def _warn_unknown(key: str) -> None:
    near = difflib.get_close_matches(key, PARSERS, n=1)
    logger.warning("%s is not a setting of flask_convex_http%s", key, f"; did you mean {near[0]}?" if near else "")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{key} must be a text that is not empty")
    return value.strip()


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


def _levels(key: str, value: Any) -> int:
    if _count(key, value) > 64:
        raise ConfigurationError(f"{key} must be 64 or less, which is the limit of values")
    return int(value)


def _prefix(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9]{0,15}", value):
        raise ConfigurationError(f"{key} must be 1 to 16 lower-case letters and digits, and must start with a letter")
    return value


def _invalid_status(key: str, value: Any) -> int:
    if isinstance(value, bool) or value not in (401, 403):
        raise ConfigurationError(f"{key} must be 401 or 403")
    return int(value)


def _durability(key: str, value: Any) -> str:
    if value not in ("full", "normal"):
        raise ConfigurationError(f'{key} must be "full" or "normal"')
    return str(value)


def _seconds(key: str, value: Any) -> float:
    return _number(key, value, "seconds, more than 0 and at most 3600", most=3600)


def _switch(key: str, value: Any) -> str:
    if isinstance(value, bool):  # Flask reads true and false in environment variables as booleans
        return "on" if value else "off"
    if value not in ("on", "off"):
        raise ConfigurationError(f'{key} must be "on" or "off", not {value!r}')
    return str(value)


def _lease(key: str, value: Any) -> float:
    return _number(key, value, "seconds, 0.5 to 3600", least=0.5, most=3600)


def _days(key: str, value: Any) -> float:
    return _number(key, value, "days, more than 0 and at most 36525", most=36525)


def _history(key: str, value: Any) -> str:
    if value is False or value == "off":  # Flask reads false in environment variables as a boolean
        return "off"
    retention = duration_of(value) if isinstance(value, str) else value
    if not isinstance(retention, timedelta) or not timedelta(seconds=1) <= retention <= timedelta(days=36525):
        raise ConfigurationError(f'{key} must be a duration such as "7d" or "12h" (s, m, h, d or w), or "off"')
    return value.strip() if isinstance(value, str) else f"{int(retention.total_seconds())}s"


def _log(key: str, value: Any) -> str:
    if value not in ("text", "json", "records"):
        raise ConfigurationError(f'{key} must be "text", "json" or "records", not {value!r}')
    return str(value)


def _rows(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000_000:
        raise ConfigurationError(f"{key} must be a number of records, 0 to 10000000")
    return value


def _number(key: str, value: Any, unit: str, *, least: float = 0.0, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not value > 0 or not least <= value <= most:
        raise ConfigurationError(f"{key} must be a number of {unit}")
    return float(value)


def _count(key: str, value: Any, noun: str = "a whole number") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} must be {noun}, 1 or more")
    return value


PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "CONVEX_DATABASE_URL": parse_database_url,
    "CONVEX_DATABASE_CONNECTIONS": _count,
    "CONVEX_STORAGE_URL": parse_storage_url,
    "CONVEX_STORAGE_REDIRECT": _switch,
    "CONVEX_SECRET": _secret,
    "CONVEX_SITE_URL": _site,
    "CONVEX_FILES_URL": _site,
    "CONVEX_MAX_BODY_BYTES": _bytes,
    "CONVEX_MAX_JSON_BYTES": _bytes,
    "CONVEX_MAX_FORM_BYTES": _bytes,
    "CONVEX_MAX_FORM_FIELDS": _count,
    "CONVEX_MAX_UPLOAD_BYTES": _bytes,
    "CONVEX_API_KEY_PREFIX": _prefix,
    "CONVEX_INVALID_CREDENTIAL_STATUS": _invalid_status,
    "CONVEX_DURABILITY": _durability,
    "CONVEX_WRITE_TIMEOUT": _seconds,
    "CONVEX_MAX_DOCUMENT_BYTES": _bytes,
    "CONVEX_MAX_DOCUMENT_NESTING": _levels,
    "CONVEX_MAX_READ_BYTES": _bytes,
    "CONVEX_MAX_RETURN_BYTES": _bytes,
    "CONVEX_MUTATION_TIMEOUT": _seconds,
    "CONVEX_WRITE_QUEUE": _count,
    "CONVEX_LIVE_CONNECTIONS": _count,
    "CONVEX_LIVE_CONNECTIONS_PER_ADDRESS": _count,
    "CONVEX_WORKER": _switch,
    "CONVEX_WORKER_ACTIONS": _count,
    "CONVEX_WORKER_LEASE": _lease,
    "CONVEX_SCHEDULED_RETENTION_DAYS": _days,
    "CONVEX_HISTORY": _history,
    "CONVEX_METRICS_TOKEN": _secret,
    "CONVEX_LOG": _log,
    "CONVEX_LOG_ROWS": _rows,
}
