"""What an upload request says about its file: bytes, media type, name and digest.

The bytes are the body, or the one file of a form.
"""

from __future__ import annotations

import base64
import io
from typing import IO, NamedTuple
from urllib.parse import unquote

from flask import Request
from werkzeug.http import parse_options_header

from flask_convex_http.errors import PayloadTooLargeError, RequestError
from flask_convex_http.storage.media_types import sendable
from flask_convex_http.web.requests.body_streams import limit_body

_FORM = "multipart/form-data"
#: Bytes that a form may have beside its file: boundaries, headers, and short fields such as a CSRF token.
_FORM_ROOM = 64 * 1024


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


def upload_of(request: Request, limit: int, limited_by: str) -> Upload:
    """Return the file of a request: its body, or the one file of its form.

    Args:
        request: The request.
        limit: The maximum size of the file in bytes. Reading a larger body raises `PayloadTooLargeError`.
        limited_by: The options and settings that may have set the limit.

    Raises:
        PayloadTooLargeError: The form is too large (413).
        RequestError: The form has no file or several, or the announced digest is malformed (400).
    """
    digest, name = _announced_digest(request), _announced_name(request)
    if request.mimetype != _FORM:
        limit_body(request, limit, limited_by)
        return Upload(request.stream, sendable(request.content_type), name, digest)
    limit_body(request, limit + _FORM_ROOM, f"{limited_by}, and {_FORM_ROOM} bytes for the rest of the form")
    files = [file for file in request.files.values() if file.filename]
    if len(files) != 1:
        raise RequestError(f"The form must have one file, not {len(files)}", 400)
    if digest is not None:  # RFC 9530: the digest is of the whole body
        raise RequestError("A digest cannot be verified for a form; send the bytes as the body", 400)
    _check_size(files[0].stream, limit, limited_by)
    return Upload(files[0].stream, sendable(files[0].content_type), name or files[0].filename, None)


def _check_size(file: IO[bytes], limit: int, limited_by: str) -> None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > limit:
        raise PayloadTooLargeError(f"The file is larger than {limit} bytes ({limited_by})")


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
