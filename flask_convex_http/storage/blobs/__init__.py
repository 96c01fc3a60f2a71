"""Blob stores: the bytes of stored files, behind one port with interchangeable members.

Keys and bytes enter and leave. A store knows no documents and no HTTP. `base` defines the port, `sqlite` and `s3` are
the members. A new member is a module, a branch in `open_blobs` and a line in the contract tests.
"""

from __future__ import annotations

from pathlib import Path

from flask_convex_http.config import Settings
from flask_convex_http.errors import ConfigurationError
from flask_convex_http.storage.blobs.base import BlobExistsError, BlobStore, Served, StoredBytes
from flask_convex_http.storage.blobs.sqlite import SQLiteBlobs

__all__ = ["BlobExistsError", "BlobStore", "SQLiteBlobs", "Served", "StoredBytes", "open_blobs"]


def open_blobs(settings: Settings, folder: Path) -> BlobStore:
    """Return the blob store that the settings name. It opens nothing before its first use.

    Args:
        settings: The settings.
        folder: The folder of relative paths.

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
            "pip install 'obstore>=0.11'"
        ) from error
    return S3Blobs(settings.storage_url, redirects=settings.storage_redirect == "on")
