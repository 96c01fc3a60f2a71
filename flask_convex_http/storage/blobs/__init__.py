"""Where the bytes of stored files lie: one port, interchangeable members.

`base` says what every member does; each other module is one member. A member knows bytes and keys only: no
documents, no HTTP. A new member is one file, one line here and one line in the contract tests.
"""

from __future__ import annotations

from pathlib import Path

from flask_convex_http.config import Settings
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, Served, StoredBytes
from flask_convex_http.storage.blobs.sqlite import SQLiteBlobs

__all__ = ["BlobExistsError", "BlobStore", "SQLiteBlobs", "Served", "StoredBytes", "open_blobs"]


def open_blobs(settings: Settings, folder: Path) -> BlobStore:
    """The store that the settings name; nothing is opened before its first use.

    Args:
        settings: Name it.
        folder: What a relative path is below.

    Raises:
        ConfigurationError: The library of the store is not installed.
    """
    location = settings.storage(folder)
    if location.is_sqlite:
        return SQLiteBlobs(location.path, timeout=settings.write_timeout)
    try:
        from flask_convex_http.storage.blobs.s3 import S3Blobs
    except ImportError as error:
        raise ConfigurationError(
            f"CONVEX_STORAGE_URL names a bucket, whose library cannot be imported ({error}); run "
            "pip install 'flask_convex_http[s3]'"
        ) from error
    return S3Blobs(settings.storage_url, redirects=settings.storage_redirect == "on")
