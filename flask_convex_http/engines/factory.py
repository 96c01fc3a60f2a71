"""Choose and make the engine that the settings name."""

from __future__ import annotations

from pathlib import Path

from flask_convex_http.config import Settings
from flask_convex_http.engines.base import Engine
from flask_convex_http.engines.log_store import LogStore
from flask_convex_http.engines.sqlite.engine import SQLiteEngine
from flask_convex_http.engines.sqlite.log_store import SQLiteLogStore
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.telemetry import Telemetry


def open_engine(settings: Settings, schema: Schema, folder: Path, telemetry: Telemetry | None = None) -> Engine:
    """Return the engine that CONVEX_DATABASE_URL names. It connects at its first use.

    Args:
        settings: The settings of the deployment.
        schema: The tables that must exist.
        folder: The folder of relative paths.
        telemetry: Receives an event for each group commit of SQLite.

    Raises:
        ConfigurationError: The URL is wrong, or the driver of the database is not installed.
    """
    location = settings.database(folder)
    if not location.is_sqlite:
        return _open_postgres(settings, schema)
    return SQLiteEngine(
        location.path,
        schema,
        durability="off" if location.is_temporary else settings.durability,
        writer_timeout=settings.write_timeout,
        writer_queue=settings.write_queue,
        telemetry=telemetry,
    )


def open_log_store(settings: Settings, folder: Path, engine: Engine) -> LogStore:
    """Return the log store of a database: a file beside it, such as `shop-logs.db`, or tables in it.

    Args:
        settings: The settings of the deployment.
        folder: The folder of relative paths.
        engine: The engine of the database.
    """
    location = settings.database(folder)
    if location.is_sqlite:
        path = location.path
        return SQLiteLogStore(None if path is None else path.with_name(f"{path.stem}-logs{path.suffix}"))
    from flask_convex_http.engines.postgres.engine import PostgresEngine

    assert isinstance(engine, PostgresEngine)
    return engine.log_store()


def _open_postgres(settings: Settings, schema: Schema) -> Engine:
    try:
        from flask_convex_http.engines.postgres.engine import PostgresEngine
    except ImportError as error:
        raise ConfigurationError(
            f"CONVEX_DATABASE_URL names a PostgreSQL, whose driver cannot be imported ({error}); run "
            "pip install 'psycopg[binary,pool]>=3.2'"
        ) from error
    return PostgresEngine(
        settings.database_url,
        schema,
        durability=settings.durability,
        timeout=settings.write_timeout,
        mutation_timeout=settings.mutation_timeout,
        connections=settings.database_connections,
        queue=settings.write_queue,
    )
