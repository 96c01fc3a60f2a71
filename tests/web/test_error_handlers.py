"""Errors that leave a handler, and the error handlers of the app and its blueprints."""

from pathlib import Path

import pytest
from flask import Blueprint, Request, abort
from werkzeug.exceptions import HTTPException

from flask_convex_http import ActionCtx, ConvexError, DocumentValidationError, HttpRouter, json_errors
from tests.web.apps import deployed, send


class AppError(Exception):
    """An error of the application."""


def raising(http: HttpRouter, error: Exception) -> None:
    """Register a handler that raises this error."""

    @http.get("/raise")
    def handler(ctx: ActionCtx, request: Request) -> str:
        raise error


@pytest.mark.parametrize("owner", ["blueprint", "outer", "app"])
def test_error_handler_for_a_class(tmp_path: Path, owner: str) -> None:
    """An error handler for a class is called, on the router, on the outer blueprint or on the app."""
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
    """Error handlers for 404 and 500 receive abort() and unexpected exceptions, a 500 with the original exception."""
    http = HttpRouter("http", __name__)
    raising(http, AppError("x"))

    @http.get("/abort")
    def aborts(ctx: ActionCtx, request: Request) -> str:
        abort(404)

    def respond(error: HTTPException) -> tuple[str, int]:
        original = getattr(error, "original_exception", None)
        return f"{owner} {error.code} {original!r}", error.code or 0

    if owner == "blueprint":
        http.register_error_handler(404, respond)
        http.register_error_handler(500, respond)
    with deployed(tmp_path, http) as app:
        if owner == "app":
            app.register_error_handler(404, respond)
            app.register_error_handler(500, respond)
        assert send(app, "GET", "/abort").text == f"{owner} 404 None"
        failed = send(app, "GET", "/raise")
    assert (failed.status_code, failed.text) == (500, f"{owner} 500 AppError('x')")


def test_handler_for_exception_gets_no_package_errors(tmp_path: Path) -> None:
    """The app's handler for Exception receives unexpected errors, but no error of the package that has a status."""
    http = HttpRouter("http", __name__)
    raising(http, AppError("x"))

    @http.get("/package-error")
    def package_error(ctx: ActionCtx, request: Request) -> str:
        raise ConvexError("no tea", status=418)

    with deployed(tmp_path, http) as app:
        app.register_error_handler(Exception, lambda error: ("caught", 500))
        assert send(app, "GET", "/raise").text == "caught"
        assert send(app, "GET", "/package-error").json == {"error": "no tea"}
        app.error_handler_spec[None][None][ConvexError] = lambda error: ("mine", 418)
        assert send(app, "GET", "/package-error").text == "mine"


def test_handler_for_exception_gets_mistakes_of_the_application(tmp_path: Path) -> None:
    """The app's handler for Exception receives an error of the package that is a mistake of the application, a 500."""
    http = HttpRouter("http", __name__)
    raising(http, DocumentValidationError("items: Expected `str`, got `int` - at `$.name`"))
    with deployed(tmp_path, http) as app:
        app.register_error_handler(Exception, lambda error: (f"caught {type(error).__name__}", 500))
        assert send(app, "GET", "/raise").text == "caught DocumentValidationError"


def test_404_and_405_of_the_host_app(tmp_path: Path) -> None:
    """Outside of all routes the host app sends its own 404 and 405, in JSON after json_errors(app)."""
    http = HttpRouter("http", __name__)
    http.post("/x")(lambda ctx, request: "x")
    with deployed(tmp_path, http) as app:
        assert send(app, "GET", "/nowhere").content_type.startswith("text/html")
    with deployed(tmp_path, http) as app:
        json_errors(app)
        missing, wrong_method = send(app, "GET", "/nowhere"), send(app, "GET", "/x")
    assert (missing.status_code, missing.json) == (404, {"error": "Not Found"})
    assert (wrong_method.status_code, wrong_method.json, wrong_method.headers["Allow"]) == (
        405,
        {"error": "Method Not Allowed"},
        "POST",
    )
