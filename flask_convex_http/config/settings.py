"""Settings: the `CONVEX_` keys of `app.config`, parsed once into a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask_convex_http.config.keys import PARSERS, warn_unknown
from flask_convex_http.config.locations import MEMORY, Location
from flask_convex_http.config.urls import DEFAULT_STORAGE, storage_beside, timeout_as_setting
from flask_convex_http.durations import duration_of
from flask_convex_http.errors import ConfigurationError

MIB = 2**20


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
    storage_url: str = DEFAULT_STORAGE
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
        config = timeout_as_setting(config)
        for key in sorted(key for key in config if key.startswith("CONVEX_")):
            parse = PARSERS.get(key)
            if parse is None:
                warn_unknown(key)
            elif config[key] is not None:
                values[key.removeprefix("CONVEX_").lower()] = parse(key, config[key])
        if "storage_url" not in values:
            values["storage_url"] = storage_beside(values.get("database_url", cls().database_url), folder)
        settings = cls(**values)
        if settings.database_url != MEMORY and Path(settings.storage_url) == Path(settings.database_url):
            raise ConfigurationError("CONVEX_STORAGE_URL must name another file than CONVEX_DATABASE_URL")
        return settings

    def moved(self, database_url: str | None, storage_url: str | None) -> Settings:
        """Return the settings with another database or blob store. None keeps the place."""
        return replace(
            self, database_url=database_url or self.database_url, storage_url=storage_url or self.storage_url
        )

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
