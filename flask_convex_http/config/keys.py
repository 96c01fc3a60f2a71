"""The keys of settings, and what checks the value of each."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from flask_convex_http.config.urls import parse_database_url, parse_storage_url
from flask_convex_http.config.values import (
    byte_count,
    count,
    days,
    durability,
    history,
    invalid_status,
    key_prefix,
    lease,
    levels,
    log_format,
    log_rows,
    seconds,
    secret_text,
    site_url,
    switch,
)
from flask_convex_http.log import logger_of

logger = logger_of()

#: What checks the value of each key.
PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "CONVEX_DATABASE_URL": parse_database_url,
    "CONVEX_DATABASE_CONNECTIONS": count,
    "CONVEX_STORAGE_URL": parse_storage_url,
    "CONVEX_STORAGE_REDIRECT": switch,
    "CONVEX_SECRET": secret_text,
    "CONVEX_SITE_URL": site_url,
    "CONVEX_FILES_URL": site_url,
    "CONVEX_MAX_BODY_BYTES": byte_count,
    "CONVEX_MAX_JSON_BYTES": byte_count,
    "CONVEX_MAX_FORM_BYTES": byte_count,
    "CONVEX_MAX_FORM_FIELDS": count,
    "CONVEX_MAX_UPLOAD_BYTES": byte_count,
    "CONVEX_API_KEY_PREFIX": key_prefix,
    "CONVEX_INVALID_CREDENTIAL_STATUS": invalid_status,
    "CONVEX_DURABILITY": durability,
    "CONVEX_WRITE_TIMEOUT": seconds,
    "CONVEX_MAX_DOCUMENT_BYTES": byte_count,
    "CONVEX_MAX_DOCUMENT_NESTING": levels,
    "CONVEX_MAX_READ_BYTES": byte_count,
    "CONVEX_MAX_RETURN_BYTES": byte_count,
    "CONVEX_MUTATION_TIMEOUT": seconds,
    "CONVEX_WRITE_QUEUE": count,
    "CONVEX_LIVE_CONNECTIONS": count,
    "CONVEX_LIVE_CONNECTIONS_PER_ADDRESS": count,
    "CONVEX_WORKER": switch,
    "CONVEX_WORKER_ACTIONS": count,
    "CONVEX_WORKER_LEASE": lease,
    "CONVEX_SCHEDULED_RETENTION_DAYS": days,
    "CONVEX_HISTORY": history,
    "CONVEX_METRICS_TOKEN": secret_text,
    "CONVEX_LOG": log_format,
    "CONVEX_LOG_ROWS": log_rows,
}


def warn_unknown(key: str) -> None:
    """Log a warning about a key that is no setting, with the nearest one."""
    near = difflib.get_close_matches(key, PARSERS, n=1)
    logger.warning("%s is not a setting of flask_convex_http%s", key, f"; did you mean {near[0]}?" if near else "")
