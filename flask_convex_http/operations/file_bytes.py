"""Compare the bytes of stored files with their rows."""

from __future__ import annotations

import base64
import hashlib

from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import BlobStore


def has_full_size(blobs: BlobStore, file: StoredFile) -> bool:
    """Return whether a file's bytes end where its row says. Only the last byte is read.

    Raises:
        BlobNotFoundError: The store has no bytes of the file.
    """
    if file.size < 0:
        return False
    end = blobs.read(file.id, max(file.size - 1, 0), file.size + 1)
    return sum(map(len, end)) == min(file.size, 1)


def measure(blobs: BlobStore, file_id: str) -> tuple[int, str]:
    """Return the size of a file's bytes and their SHA-256 as rows have it, in base64. All bytes are read.

    Raises:
        BlobNotFoundError: The store has no bytes of the file.
    """
    size, digest = 0, hashlib.sha256()
    for chunk in blobs.read(file_id):
        size += len(chunk)
        digest.update(chunk)
    return size, encoded(digest.digest())


def encoded(digest: bytes) -> str:
    """Return a SHA-256 as rows have it, in base64."""
    return base64.b64encode(digest).decode()
