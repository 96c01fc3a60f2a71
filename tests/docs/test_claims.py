"""Differences from Convex and from Flask that the documentation states in prose."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient

from flask_convex_http import (
    ActionCtx,
    ArgumentValidationError,
    ConvexError,
    ConvexHTTP,
    HttpRouter,
    QueryCtx,
    RegistrationError,
    Schema,
    query,
)
from flask_convex_http.testing import memory_backend


@query
def double(ctx: QueryCtx, *, price: float) -> float:
    """Return twice a price."""
    return price * 2


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    """Yield a client of an app with a handler for each claim."""
    http = HttpRouter("http", __name__)

    @http.get("/text")
    def text(ctx: ActionCtx, request: Request) -> str:
        return "OK"

    @http.get("/café")
    def decoded(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        return {"anonymous": ctx.auth.get_user_identity() is None}

    @http.get("/rejected")
    def rejected(ctx: ActionCtx, request: Request) -> None:
        raise ConvexError("Not today")

    @http.get("/broken")
    def broken(ctx: ActionCtx, request: Request) -> None:
        raise RuntimeError("the password is hunter2")

    app = Flask(__name__, instance_path=str(tmp_path))
    app.config.update(CONVEX_DATABASE_URL="sqlite:///:memory:", TESTING=True)
    convex = ConvexHTTP(app)
    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
        yield app.test_client()
        convex.backend.close()


def test_a_string_is_html(client: FlaskClient) -> None:
    """A text that a handler returns is text/html, as in Flask."""
    assert client.get("/text").mimetype == "text/html"


def test_paths_are_decoded_and_an_unknown_token_is_401_if_the_identity_is_read(client: FlaskClient) -> None:
    """A percent-encoded path matches the plain one. The identity of an unknown token is 401."""
    assert client.get("/caf%C3%A9").get_json() == {"anonymous": True}
    assert client.get("/caf%C3%A9", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_wrong_method_is_405_and_a_wrong_path_404(client: FlaskClient) -> None:
    """A wrong method is 405 with Allow, a wrong path 404, and without json_errors both are Flask's HTML pages."""
    wrong = client.delete("/text")
    assert wrong.status_code == 405 and set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    missing = client.get("/text/")
    assert missing.status_code == 404 and missing.mimetype == wrong.mimetype == "text/html"


def test_an_application_error_is_400_by_default(client: FlaskClient) -> None:
    """The response to a ConvexError has its message and by default the status 400."""
    response = client.get("/rejected")
    assert response.status_code == 400 and response.get_json() == {"error": "Not today"}


def test_an_unexpected_error_is_not_shown(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is raised in tests. In production it is a 500, and only the log has its message."""
    with pytest.raises(RuntimeError, match="hunter2"):
        client.get("/broken")
    client.application.config["TESTING"] = False
    with caplog.at_level(logging.ERROR):
        response = client.get("/broken")
    assert response.status_code == 500
    assert response.get_json() == {"error": "Internal server error", "requestId": response.headers["X-Request-Id"]}
    assert "hunter2" in caplog.text


def test_only_an_int_for_a_float_is_converted() -> None:
    """A float parameter accepts an int and rejects a text."""
    with memory_backend(Schema(), functions=[double]) as backend:
        assert backend.ctx().run_query(double, price=2) == 4.0
        with pytest.raises(ArgumentValidationError, match=r"\$\.price"):
            backend.ctx().run_query("test_claims:double", price="2")


def test_a_webhook_needs_a_provider() -> None:
    """A webhook without a provider raises RegistrationError."""
    with pytest.raises(RegistrationError, match="needs a provider"):
        HttpRouter("http", __name__).webhook("/hook", None)  # type: ignore[arg-type]  # the mistake under test
