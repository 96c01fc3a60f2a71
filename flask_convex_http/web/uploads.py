"""What an upload request says about its file: bytes, media type, name and digest.

The bytes are the body, or the one file of a form.
"""

from __future__ import annotations

import base64
from typing import IO, NamedTuple
from urllib.parse import unquote

from flask import Request
from werkzeug.http import parse_options_header

from flask_convex_http.errors import RequestError
from flask_convex_http.storage.media_types import sendable


class Upload(NamedTuple):
    """The file of an upload request.

    Attributes:
        stream: The bytes.
        content_type: The media type that the client claims.
        name: The name that the client gives, which is not cleaned.
        sha256: The announced digest, if any.
    """

    stream: IO[bytes]
    content_type: str | None
    name: str | None
    sha256: bytes | None


def upload_of(request: Request) -> Upload:
    """Return the file of a request: its body, or the one file of its form.

    Raises:
        RequestError: The form has no file or several, or the announced digest is malformed (400).
    """
    digest, name = _announced_digest(request), _announced_name(request)
    if request.mimetype != "multipart/form-data":
        return Upload(request.stream, sendable(request.content_type), name, digest)
    files = [file for file in request.files.values() if file.filename]
    if len(files) != 1:
        raise RequestError(f"The form must have one file, not {len(files)}", 400)
    if digest is not None:  # RFC 9530: the digest is of the whole body
        raise RequestError("A digest cannot be verified for a form; send the bytes as the body", 400)
    return Upload(files[0].stream, sendable(files[0].content_type), name or files[0].filename, None)


def _announced_name(request: Request) -> str | None:
    """Return the name in `X-Filename` (percent-encoded UTF-8) or `Content-Disposition` (RFC 6266), or None."""
    name = request.headers.get("X-Filename")
    if name is not None:
        return unquote(_as_utf8(name))
    _, options = parse_options_header(_as_utf8(request.headers.get("Content-Disposition", "")))
    return options.get("filename")


def _as_utf8(header: str) -> str:
    """Return a header as UTF-8, which clients send though HTTP has no encoding, or else as WSGI's Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _announced_digest(request: Request) -> bytes | None:
    """Return the announced SHA-256 digest of the body: RFC 9530's `sha-256=:...:`, or Convex's `Digest`."""
    for header in ("Content-Digest", "Digest"):
        for item in request.headers.get(header, "").split(","):
            algorithm, _, value = item.strip().partition("=")
            if algorithm.lower() == "sha-256":
                return _decoded(value.strip(":"), header)
    return None


def _decoded(value: str, header: str) -> bytes:
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise RequestError(f"{header} must look like sha-256=:...:, with 32 bytes in base64", 400)
    return digest
