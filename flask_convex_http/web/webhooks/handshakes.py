"""The responses to senders that verify a URL before they send events to it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response

from flask_convex_http.webhooks.events import Handshake


def handshake_response(app: Flask, reply: str | Mapping[str, object] | Handshake) -> Response:
    """Return the response for what a provider's handshake returned.

    Args:
        app: The app.
        reply: A text, an object, or a whole response.
    """
    handshake = reply if isinstance(reply, Handshake) else Handshake(body=reply)
    body = handshake.body
    if isinstance(body, str):
        response = app.response_class(body, handshake.status, mimetype="text/plain")
    else:
        response = app.response_class(app.json.dumps(body), handshake.status, mimetype="application/json")
    # The text may be the request's own, and a browser must not take it for a page.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.update(handshake.headers)
    return response
