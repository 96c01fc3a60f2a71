"""The whole body of a request whose handler may run more than once.

The body is read before the handler's transaction begins, and before its form is parsed: a parsed form leaves no bytes
to compare two requests by. Code of the application, such as a check of CSRF tokens in `before_request`, may have
parsed the form earlier. Then the fields and the files stand for the body.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import IO

import msgspec
from flask import Request

from flask_convex_http.errors import FunctionCallError
from flask_convex_http.web.requests.body_streams import read_data
from flask_convex_http.web.requests.forms import FORM_TYPES

_PIECE = 64 * 1024


def read_whole_body(request: Request) -> bytes:
    """Return the body of a request, or a description of its form if that is parsed already. Equal bodies are equal.

    Raises:
        FunctionCallError: The application has read the body from `request.stream`.
    """
    if _is_parsed(request):
        return _describe(request)
    known = vars(request)
    body = known.get("_cached_data") or read_data(request)
    if not body and request.content_length:
        raise FunctionCallError(
            "The body of a request with idempotent= was read from request.stream before its handler, so it cannot be "
            "compared with that of a retry; write request.get_data() there"
        )
    known.setdefault("_cached_data", body)  # as get_data() keeps it
    _rewind_stream(request, body)
    return body


def rewind(request: Request) -> None:
    """Let the next attempt of a handler read the body from the start."""
    if _is_parsed(request):
        for file in request.files.values():
            file.seek(0)
        return
    request.close()  # the files of the attempt before
    for name in ("form", "files", "values", "_cached_json"):
        request.__dict__.pop(name, None)
    _rewind_stream(request, request.get_data())


def _is_parsed(request: Request) -> bool:
    """Return whether the form was parsed from the connection, and not from bytes that are kept."""
    known = request.__dict__
    return "form" in known and "_cached_data" not in known and request.mimetype in FORM_TYPES


def _rewind_stream(request: Request, body: bytes) -> None:
    request.__dict__["stream"] = BytesIO(body)


def _describe(request: Request) -> bytes:
    files = [
        (name, file.filename, file.content_type, _digest(file.stream)) for name, file in request.files.items(multi=True)
    ]
    return msgspec.json.encode([list(request.form.lists()), files])


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()
