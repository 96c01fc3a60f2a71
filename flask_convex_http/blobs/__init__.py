"""Where the bytes of stored files lie: one port, interchangeable members.

`base` says what every member does; each other module is one member. A member knows bytes and keys only: no
documents, no HTTP. A new member is one file, one line here and one line in the contract tests.
"""

from __future__ import annotations

from flask_convex_http.blobs.base import BlobExistsError, BlobStore, StoredBytes
from flask_convex_http.blobs.sqlite import SQLiteBlobs

__all__ = ["BlobExistsError", "BlobStore", "SQLiteBlobs", "StoredBytes"]
