"""Responses of Flask as rows, and back."""

from __future__ import annotations

from flask import Flask, Response

from flask_convex_http.schema.system_tables import StoredResponse


def stored(response: Response) -> StoredResponse:
    """Return a response with its whole body, to store it."""
    response.direct_passthrough = False  # reads a response that streams a file
    headers = tuple((name, value) for name, value in response.headers.items() if name != "Content-Length")
    return StoredResponse(response.status_code, headers, response.get_data())


def as_response(app: Flask, answer: StoredResponse) -> Response:
    """Return a stored response as one of Flask."""
    return app.response_class(answer.body, answer.status, headers=list(answer.headers))
