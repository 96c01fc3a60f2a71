"""Response headers of stored files, for the app and for a blob store that serves clients itself.

A file is not trusted. One that a page could run is a download of an unknown type, and every other one is sandboxed.
"""

from __future__ import annotations

from flask_convex_http.schema.system_tables import StoredFile
from flask_convex_http.storage.blobs.base import Served
from flask_convex_http.storage.media_types import UNKNOWN, is_inline, is_pdf, neutral, sendable
from flask_convex_http.storage.names import disposition

_SANDBOX = "sandbox; default-src 'none'"
#: Chromium starts no PDF viewer in a sandbox (https://github.com/whatwg/html/issues/3958), and the page that it makes
#: around the viewer has inline styles (https://issues.chromium.org/issues/343754409). A PDF runs in the viewer's own
#: process or origin, not in that of the response.
_PDF_POLICY = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"


def served(file_id: str, content_type: str | None, name: str | None = None) -> Served:
    """Return type and disposition of a file. A file that a browser could run is always a download.

    Args:
        file_id: The id of the file, which names a download without a name.
        content_type: The stored media type.
        name: The stored name.
    """
    media_type = sendable(content_type) or UNKNOWN
    if is_inline(media_type):
        return Served(media_type, disposition("inline", name))
    return Served(neutral(media_type), disposition("attachment", name or file_id))


def shown(file: StoredFile) -> Served:
    """Return type and disposition of a file at a URL that asks the browser to show it, PDF included."""
    if is_pdf(file.content_type or ""):
        return Served("application/pdf", disposition("inline", file.name))
    return served(file.id, file.content_type, file.name)


def policy(headers: Served) -> str:
    """Return the `Content-Security-Policy` of a response with these headers."""
    is_shown_pdf = is_pdf(headers.content_type) and headers.disposition.startswith("inline")
    return _PDF_POLICY if is_shown_pdf else _SANDBOX
