"""Pages for errors."""

from __future__ import annotations

from typing import cast

from flask import Flask, Response
from flask.signals import got_request_exception
from werkzeug.exceptions import HTTPException

from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.errors import ConvexHTTPError
from flask_convex_http.log import logger_of
from flask_convex_http.web.observed import note_error
from flask_convex_http.web.state import raises_unexpected

logger = logger_of("dashboard")


def respond_to(app: Flask, visit: Visit, error: Exception) -> Response:
    """Return the page for an error of a view.

    Raises:
        Exception: The error is unexpected, and the app raises those, as Flask does in tests and in debug mode.
    """
    if isinstance(error, HTTPException):
        return _for_http(visit, error)
    note_error(visit.request.environ, error)
    if isinstance(error, ConvexHTTPError) and error.public:
        if error.status >= 500:
            logger.error("%s %r [request %s]: %s", visit.request.method, visit.request.path, visit.request_id, error)
        text = str(error) if visit.session else error.client_message or str(error)
        return _page(visit, error.status, "This did not work", text)
    if raises_unexpected(app):
        raise error
    got_request_exception.send(app, exception=error)
    request = visit.request
    logger.error("%s %r failed [request %s]", request.method, request.path, visit.request_id, exc_info=error)
    reason = str(error) if isinstance(error, ConvexHTTPError) and visit.session else "The log has the reason"
    return _page(visit, 500, "This page failed", f"{reason} [request {visit.request_id}]")


def _for_http(visit: Visit, error: HTTPException) -> Response:
    if error.response is not None:
        return cast(Response, error.response)
    status = error.code or 500
    if status == 404:
        return _page(visit, 404, "Not found", "There is no such page, or what it showed was deleted.")
    return _page(visit, status, error.name, error.description or "")


def _page(visit: Visit, status: int, title: str, text: str) -> Response:
    return visit.render("error.html", status, title=title, text=text, hint="")
