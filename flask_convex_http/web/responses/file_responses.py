"""Ranges of responses that handlers make of stored files.

Werkzeug knows the length of a file on the disk or in memory only. For any other it ignores `Range`, and a plain
`Response(file)` would be read line by line.
"""

from __future__ import annotations

from flask import Request, Response, request
from werkzeug.http import parse_date

from flask_convex_http.storage.blobs.streams import StoredBytesReader
from flask_convex_http.web.responses.byte_ranges import RangeNotSatisfiable, parse


def range_applies(request: Request, etag: str | None) -> bool:
    """Return whether a Range header is evaluated: for GET only (RFC 9110, 14.2), and if If-Range matches (13.1.5).

    Args:
        request: The request.
        etag: The ETag of the response, with its quotes. A date never matches, since files have none.
    """
    if request.method != "GET":
        return False
    condition = request.headers.get("If-Range")
    return condition is None or (parse_date(condition) is None and condition.strip() == etag)


def with_ranges(response: Response) -> Response:
    """Give a response of a stored file its length, and send only the range that the client asks for.

    Any other response is returned as it is.
    """
    reader = _reader_of(response)
    if reader is None or response.status_code != 200 or "Content-Encoding" in response.headers:
        return response
    response.headers["Accept-Ranges"] = "bytes"
    start, stop = 0, reader.size
    if range_applies(request, response.headers.get("ETag")):
        try:
            part = parse(request.headers.get("Range"), reader.size)
        except RangeNotSatisfiable as error:
            return _unsatisfiable(response, error)
        if part is not None:
            start, stop = part
            response.status_code = 206
            response.headers["Content-Range"] = part.content_range(reader.size)
    response.call_on_close(reader.close)
    response.response = reader.chunks(start, stop)
    response.content_length = stop - start
    return response


def _reader_of(response: Response) -> StoredBytesReader | None:
    """Return the stored file that a response sends, itself or in the wrapper of Werkzeug or of the WSGI server."""
    body = response.response
    for found in (body, getattr(body, "file", None), getattr(body, "filelike", None)):
        if isinstance(found, StoredBytesReader):
            return found
    return None


def _unsatisfiable(response: Response, error: RangeNotSatisfiable) -> Response:
    response.status_code = error.status
    response.headers["Content-Range"] = error.content_range
    response.set_data(b"")
    return response
