"""Errors that leave a handler, and the handlers that an app or a blueprint has for them."""

from pathlib import Path

import pytest
from flask import Blueprint, Request, abort
from werkzeug.exceptions import HTTPException

from flask_convex_http import ActionCtx, ConvexError, HttpRouter, json_errors
from tests.web.apps import deployed, send


class AppError(Exception):
    """An error of the tests' own."""


def raising(http: HttpRouter, error: Exception) -> None:
    """Register a handler that raises."""

    @http.get("/raise")
    def handler(ctx: ActionCtx, request: Request) -> str:
        raise error


@pytest.mark.parametrize("owner", ["blueprint", "outer", "app"])
def test_error_handler_for_a_class(tmp_path: Path, owner: str) -> None:
    """An error handler for a class answers, be it the router's, the outer blueprint's or the app's."""
    http = HttpRouter("http", __name__)
    raising(http, AppError("x"))
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    target = {"blueprint": http, "outer": outer}.get(owner)
    if target is not None:
        target.register_error_handler(AppError, lambda error: (f"{owner}: {error}", 418))
    outer.register_blueprint(http)
    with deployed(tmp_path) as app:
        if target is None:
            app.register_error_handler(AppError, lambda error: (f"{owner}: {error}", 418))
        app.register_blueprint(outer)
        response = send(app, "GET", "/outer/raise")
    assert (response.status_code, response.text) == (418, f"{owner}: x")


@pytest.mark.parametrize("owner", ["blueprint", "app"])
def test_error_handler_for_a_code(tmp_path: Path, owner: str) -> None:
    """Handlers for 404 and 500 answer abort() and unexpected exceptions; a 500's has the original exception."""
    http = HttpRouter("http", __name__)
    raising(http, AppError("x"))

    @http.get("/abort")
    def aborts(ctx: ActionCtx, request: Request) -> str:
        abort(404)

    def answer(error: HTTPException) -> tuple[str, int]:
        original = getattr(error, "original_exception", None)
        return f"{owner} {error.code} {original!r}", error.code or 0

    if owner == "blueprint":
        http.register_error_handler(404, answer)
        http.register_error_handler(500, answer)
    with deployed(tmp_path, http) as app:
        if owner == "app":
            app.register_error_handler(404, answer)
            app.register_error_handler(500, answer)
        assert send(app, "GET", "/abort").text == f"{owner} 404 None"
        failed = send(app, "GET", "/raise")
    assert (failed.status_code, failed.text) == (500, f"{owner} 500 AppError('x')")


def test_errors_of_ours_have_a_handler_of_their_own(tmp_path: Path) -> None:
    """The app's handler for Exception gets unexpected errors, not those of ours that have a status."""
    http = HttpRouter("http", __name__)
    raising(http, AppError("x"))

    @http.get("/ours")
    def ours(ctx: ActionCtx, request: Request) -> str:
        raise ConvexError("no tea", status=418)

    with deployed(tmp_path, http) as app:
        app.register_error_handler(Exception, lambda error: ("caught", 500))
        assert send(app, "GET", "/raise").text == "caught"
        assert send(app, "GET", "/ours").json == {"error": "no tea", "data": "no tea"}
        app.error_handler_spec[None][None][ConvexError] = lambda error: ("mine", 418)
        assert send(app, "GET", "/ours").text == "mine"


def test_own_404_of_the_app(tmp_path: Path) -> None:
    """Where no route is, the host app answers: HTML, or JSON after json_errors(app)."""
    http = HttpRouter("http", __name__)
    http.post("/x")(lambda ctx, request: "x")
    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/nowhere").content_type.startswith("text/html")
    with deployed(tmp_path, http) as app:
        json_errors(app)
        missing, refused = send(app, "GET", "/nowhere"), send(app, "GET", "/x")
    assert (missing.status_code, missing.json) == (404, {"error": "Not Found"})
    assert (refused.status_code, refused.json, refused.headers["Allow"]) == (
        405,
        {"error": "Method Not Allowed"},
        "POST",
    )
