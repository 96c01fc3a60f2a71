"""Routes for files: downloads and uploads at the signed URLs of `ctx.storage`.

A file that a page could run is only offered as a download of an unknown type, in a sandbox. If the blob store serves
files itself, the client is redirected there, with the type and the disposition that the store keeps. A PDF that a
browser may show is always sent by the app, since the store's disposition is that of a download.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from flask import Request, Response, current_app
from werkzeug.datastructures import ETags

from flask_convex_http.runtime import ActionCtx
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import Method, Served
from flask_convex_http.storage.direct_uploads import DirectTerms, DirectUploads
from flask_convex_http.storage.files import PATH
from flask_convex_http.storage.headers import policy, served, shown
from flask_convex_http.web.cors import Cors
from flask_convex_http.web.requests.body_streams import limit_body
from flask_convex_http.web.requests.uploads import upload_of
from flask_convex_http.web.responses.byte_ranges import ByteRange, RangeNotSatisfiable, parse
from flask_convex_http.web.responses.file_responses import range_applies
from flask_convex_http.web.responses.responses import error_response, json_response
from flask_convex_http.web.routing.router import HttpRouter
from flask_convex_http.web.state import current_backend

# The signature in the URL authenticates, and no cookie is involved, so every origin may use it.
_EXPOSED = ["Accept-Ranges", "Content-Disposition", "Content-Length", "Content-Range", "ETag"]
files = HttpRouter("convex_files", __name__, cors=Cors(origins="*", expose_headers=_EXPOSED), url_prefix=PATH)

#: Seconds for which a browser may cache a file, if its URL is valid that long.
_MAX_AGE = 24 * 3600
#: Seconds for which a redirect's URL in the blob store is valid, and for which a browser may cache the redirect:
#: the latter is shorter, so that there is time left to follow it.
_LINK_AGE, _REDIRECT_AGE = 300, 60


@files.post("/upload")
def upload(ctx: ActionCtx, request: Request) -> Response:
    """Store the body, or the file of a form, as a file."""
    backend = current_backend()
    stored, urls = backend.files, backend.files.upload_urls
    terms = urls.read(request.args)
    if terms is None:
        return error_response("Invalid or expired upload URL", 403)
    urls.check_unused(terms)
    sent = upload_of(request, terms.limit(backend.settings.max_upload_bytes), terms.limited_by)
    terms.check_type(sent.content_type)
    file_id = stored.store(
        sent.stream, sent.content_type, sent.sha256, name=sent.name, with_row=lambda write: urls.use(write, terms)
    )
    return json_response({"storageId": file_id})


@files.put("/uploads/<file_id>")
def upload_directly(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Store the body of a direct upload, if the blob store does not take it itself."""
    backend = current_backend()
    uploads = DirectUploads(backend.files)
    terms = _direct_terms(request, uploads, "direct upload", file_id)
    if terms is None:
        return error_response("Invalid or expired upload URL", 403)
    limit_body(request, terms.limit(backend.settings.max_upload_bytes), terms.limited_by)
    uploads.take(file_id, request.stream)
    return current_app.response_class(status=200)


@files.post("/uploads/<file_id>")
def finish(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Make a file of a finished direct upload."""
    backend = current_backend()
    uploads = DirectUploads(backend.files)
    terms = _direct_terms(request, uploads, "direct finish", file_id)
    if terms is None:
        return error_response("Invalid or expired upload URL", 403)
    return json_response({"storageId": uploads.finish(file_id, terms, backend.settings.max_upload_bytes)})


def _direct_terms(request: Request, uploads: DirectUploads, purpose: str, file_id: str) -> DirectTerms | None:
    terms = DirectTerms(*(request.args.get(name, "") for name in DirectTerms.__struct_fields__))
    is_valid = uploads.is_valid(purpose, file_id, terms, request.args.get("signature", ""))
    return terms if is_valid else None


@files.get("/<file_id>")
def serve(ctx: ActionCtx, request: Request, file_id: str) -> Response:
    """Send the bytes of a file, or a range of them."""
    backend = current_backend()
    file = backend.files.metadata(file_id)
    if file is None:
        return error_response("File not found", 404)
    expires, inline = request.args.get("expires", ""), request.args.get("inline", "")
    if not backend.files.url_is_valid(file, expires, request.args.get("signature", ""), inline):
        return error_response("Invalid or expired URL", 403)
    kept = served(file.id, file.content_type, file.name)
    sent = shown(file) if inline else kept
    left = _MAX_AGE if not expires else min(_MAX_AGE, int(expires) - int(backend.clock() / 1000))
    elsewhere = _redirect(request, file, min(left, _LINK_AGE)) if sent == kept else None
    if elsewhere is not None:
        return elsewhere
    headers = _headers(file, sent, left)
    if _not_modified(request, file):
        return current_app.response_class(status=304, headers=headers)
    try:
        part = parse(request.headers.get("Range"), file.size) if range_applies(request, _etag(file)) else None
    except RangeNotSatisfiable as error:
        return error_response("Range not satisfiable", 416, {"Content-Range": error.content_range})
    return _send(backend.blobs.read(file.id, *(part or ())), file.size, part, headers)


def _redirect(request: Request, file: StoredFile, seconds: int) -> Response | None:
    """Redirect to the blob store, which then evaluates conditions and ranges (RFC 9110, 13.2.1)."""
    method: Method = "HEAD" if request.method == "HEAD" else "GET"
    location = current_backend().blobs.signed_url(method, file.id, timedelta(seconds=seconds))
    if location is None:
        return None
    age = max(0, seconds - _LINK_AGE + _REDIRECT_AGE)
    headers = {"Location": location, "Cache-Control": f"private, max-age={age}"}
    return current_app.response_class(status=302, headers=headers)


def _send(chunks: Iterator[bytes], size: int, part: ByteRange | None, headers: dict[str, str]) -> Response:
    response = current_app.response_class(chunks, 200 if part is None else 206, headers, direct_passthrough=True)
    response.content_length = size if part is None else part.stop - part.start
    if part is not None:
        response.headers["Content-Range"] = part.content_range(size)
    return response


def _headers(file: StoredFile, sent: Served, left: int) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={left}",
        "Content-Disposition": sent.disposition,
        "Content-Security-Policy": policy(sent),
        "Content-Type": sent.content_type,
        # Every origin may read a file by CORS, so a page that is isolated (COEP) may embed it too.
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": _etag(file),
        "X-Content-Type-Options": "nosniff",
    }


def _etag(file: StoredFile) -> str:
    return f'"{file.sha256}"'


def _not_modified(request: Request, file: StoredFile) -> bool:
    """Return whether If-None-Match matches. RFC 9110, 13.1.2: the comparison is weak, and `*` matches every file."""
    asked: ETags = request.if_none_match
    return bool(asked) and asked.contains_weak(file.sha256)
