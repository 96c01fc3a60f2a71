"""Stored files: list, preview, upload and delete them. Nothing of a file runs in the browser."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import NotFound

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.ids import Id
from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.names import disposition

page = Page("files", "Files")

_FILES = 50
_LONGEST_TEXT = 20_000
_LARGEST_UPLOAD = 1024**3
_CHUNK = 256 * 1024
#: Images that browsers decode without running anything. SVG is not one of them.
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "image/svg+xml")
_DOWNLOAD = "application/octet-stream"


@page.get()
def index(visit: Visit) -> Response:
    """List the files, the newest first."""
    found = visit.backend.files.newest(_FILES, visit.place())
    return visit.render("files.html", files=found.documents, next=visit.cursor(found.next))


@page.get("/file/<file>")
def details(visit: Visit, file: str) -> Response:
    """Show a file: its digest, and an image or the beginning of a text."""
    found = _find(visit, file)
    kind = (found.content_type or "").partition(";")[0].strip().lower()
    text = _beginning(visit, found) if kind.startswith(_TEXTS) else None
    return visit.render("file.html", file=found, is_image=kind in _IMAGES, text=text)


@page.get("/file/<file>/content")
def content(visit: Visit, file: str) -> Response:
    """Send the bytes of a file: an image to show, anything else to save."""
    found = _find(visit, file)
    kind = (found.content_type or "").partition(";")[0].strip().lower()
    is_image = kind in _IMAGES and not visit.text("download")
    reader = visit.backend.files.open(found)
    chunks = iter(lambda: reader.read(_CHUNK), b"")
    response = visit.app.response_class(chunks, content_type=kind if is_image else _DOWNLOAD)
    response.content_length = found.size
    response.call_on_close(reader.close)
    if not is_image:
        response.headers["Content-Disposition"] = disposition("attachment", found.name or found.id)
    return response


@page.post("/upload", max_body_bytes=_LARGEST_UPLOAD)
def upload(visit: Visit) -> Response:
    """Store a file."""
    given = visit.request.files.get("file")
    if given is None or not given.filename:
        return visit.redirect("files_index", failed="Choose a file first.")
    stored = visit.ctx().storage.store(given.stream, content_type=given.mimetype or None, name=given.filename)
    return visit.redirect("files_details", file=stored, done="Stored the file.")


@page.post("/file/<file>/delete")
def delete(visit: Visit, file: str) -> Response:
    """Delete a file."""
    found = _find(visit, file)
    visit.ctx().storage.delete(Id(found.id))
    return visit.redirect("files_index", done=f"Deleted {found.name or found.id}.")


def _find(visit: Visit, file: str) -> StoredFile:
    found = visit.backend.files.metadata(file)
    if found is None:
        raise NotFound
    return found


def _beginning(visit: Visit, found: StoredFile) -> str:
    with visit.backend.files.open(found) as reader:
        text = reader.read(_LONGEST_TEXT).decode("utf-8", "replace")
    return f"{text}\n…" if found.size > _LONGEST_TEXT else text
