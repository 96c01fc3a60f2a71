"""Stored files that do not exist."""

from __future__ import annotations

from flask_convex_http.errors.base import ConvexHTTPError


class BlobNotFoundError(ConvexHTTPError):
    """The file or its bytes do not exist."""

    status = 404
    public = True
    client_message = "There is no such file"


class StorageIdError(ConvexHTTPError):
    """A value is not the id of a stored file."""

    status = 400
    public = True
