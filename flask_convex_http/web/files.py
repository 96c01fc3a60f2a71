"""Routes for files: downloads and uploads at the signed URLs of `ctx.storage`.

A file that a browser could run is only offered as a download, in a sandbox, with its stored type. If the blob store
serves files itself, the client is redirected there, with the type and the disposition in the URL.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

from flask import Request, Response, current_app
from werkzeug.datastructures import ETags
from werkzeug.http import parse_date

from flask_convex_http.errors import RequestError
from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import Method
from flask_convex_http.storage.files import PATH, served
from flask_convex_http.storage.media_types import sendable
from flask_convex_http.web.byte_ranges import ByteRange, RangeNotSatisfiable, parse
from flask_convex_http.web.requests import limit_body
from flask_convex_http.web.responses import error_response, json_response
from flask_convex_http.web.router import HttpRouter
from flask_convex_http.web.state import current_backend

# The signature in the URL authenticates, and no cookie is involved, so every origin may use it.
files = HttpRouter("convex_files", __name__, cors="*", url_prefix=PATH)

#: Seconds for which a browser may cache a file, if its URL is valid that long.
_MAX_AGE = 24 * 3600
#: Seconds for which a redirect's URL in the blob store is valid, and for which a browser may cache the redirect:
#: the latter is shorter, so that there is time left to follow it.
_LINK_AGE, _REDIRECT_AGE = 300, 60


@files.post("/upload")
def upload(ctx: ActionCtx, request: Request) -> Response:
    """Store the body as a file."""
    backend = current_backend()
    if not backend.files.upload_is_valid(request.args.get("expires", ""), request.args.get("signature", "")):
        return error_response("Invalid or expired upload URL", 403)
    limit_body(request, backend.settings.max_upload_bytes, "CONVEX_MAX_UPLOAD_BYTES")
    file_id = backend.files.store(request.stream, sendable(request.content_type), _announced_digest(request))
    return json_response({"storageId": file_id})


@files.put("/uploads/<file_id>")
def upload_directly(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Store the body of a direct upload, if the blob store does not take it itself."""
    backend = current_backend()
    if not _is_direct(request, "direct upload", file_id):
        return error_response("Invalid or expired upload URL", 403)
    limit_body(request, backend.settings.max_upload_bytes, "CONVEX_MAX_UPLOAD_BYTES")
    backend.files.take_upload(file_id, request.stream)
    return current_app.response_class(status=200)


@files.post("/uploads/<file_id>")
def finish(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Make a file of a finished direct upload."""
    backend = current_backend()
    media_type = request.args.get("type", "")
    if not _is_direct(request, "direct finish", file_id, media_type):
        return error_response("Invalid or expired upload URL", 403)
    most = backend.settings.max_upload_bytes
    return json_response({"storageId": backend.files.finish_upload(file_id, media_type or None, most)})


def _is_direct(request: Request, purpose: str, file_id: str, media_type: str = "") -> bool:
    expires, signature = request.args.get("expires", ""), request.args.get("signature", "")
    return current_backend().files.direct_is_valid(purpose, file_id, expires, signature, media_type)


@files.get("/<file_id>")
def serve(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Send the bytes of a file, or a range of them."""
    backend = current_backend()
    file = backend.files.metadata(file_id)
    if file is None:
        return error_response("File not found", 404)
    expires = request.args.get("expires", "")
    if not backend.files.url_is_valid(file, expires, request.args.get("signature", "")):
        return error_response("Invalid or expired URL", 403)
    left = _MAX_AGE if not expires else min(_MAX_AGE, int(expires) - int(backend.clock() / 1000))
    elsewhere = _redirect(request, file, min(left, _LINK_AGE))
    if elsewhere is not None:
        return elsewhere
    headers = _headers(file, left)
    if _not_modified(request, file):
        return current_app.response_class(status=304, headers=headers)
    try:
        part = parse(request.headers.get("Range"), file.size) if _range_applies(request, file) else None
    except RangeNotSatisfiable as error:
        return error_response("Range not satisfiable", 416, {"Content-Range": error.content_range})
    return _send(backend.blobs.read(file.id, *(part or ())), file, part, headers)


def _redirect(request: Request, file: StoredFile, seconds: int) -> Response | None:
    """Redirect to the blob store, which then evaluates conditions and ranges (RFC 9110, 13.2.1)."""
    method: Method = "HEAD" if request.method == "HEAD" else "GET"
    location = current_backend().blobs.signed_url(method, file.id, timedelta(seconds=seconds))
    if location is None:
        return None
    age = max(0, seconds - _LINK_AGE + _REDIRECT_AGE)
    headers = {"Location": location, "Cache-Control": f"private, max-age={age}"}
    return current_app.response_class(status=302, headers=headers)


def _send(chunks: Iterator[bytes], file: StoredFile, part: ByteRange | None, headers: dict[str, str]) -> Response:
    response = current_app.response_class(chunks, 200 if part is None else 206, headers, direct_passthrough=True)
    response.content_length = file.size if part is None else part.stop - part.start
    response.content_type = served(file.id, file.content_type).content_type
    if part is not None:
        response.headers["Content-Range"] = part.content_range(file.size)
    return response


def _headers(file: StoredFile, left: int) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={left}",
        "Content-Disposition": served(file.id, file.content_type).disposition,
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": _etag(file),
        "X-Content-Type-Options": "nosniff",
    }


def _etag(file: StoredFile) -> str:
    return f'"{file.sha256}"'


def _not_modified(request: Request, file: StoredFile) -> bool:
    """Return whether If-None-Match matches. RFC 9110, 13.1.2: the comparison is weak, and `*` matches every file."""
    asked: ETags = request.if_none_match
    return bool(asked) and asked.contains_weak(file.sha256)


def _range_applies(request: Request, file: StoredFile) -> bool:
    """Return whether If-Range matches the file's ETag (RFC 9110, 13.1.5).

    Dates never match, since responses have none.
    """
    condition = request.headers.get("If-Range")
    return condition is None or (parse_date(condition) is None and condition.strip() == _etag(file))


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
