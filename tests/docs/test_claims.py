"""Differences from Convex, and from what people expect of Flask, that the documentation states in words."""

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
    """Twice a price."""
    return price * 2


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    """An app with a handler for each claim."""
    http = HttpRouter("http", __name__)

    @http.get("/text")
    def text(ctx: ActionCtx, request: Request) -> str:
        return "OK"

    @http.get("/café")
    def decoded(ctx: ActionCtx, request: Request) -> dict[str, bool]:
        return {"anonymous": ctx.auth.get_user_identity() is None}

    @http.get("/refused")
    def refused(ctx: ActionCtx, request: Request) -> None:
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
    """A string that a handler returns is text/html, as in all of Flask."""
    assert client.get("/text").mimetype == "text/html"


def test_paths_are_decoded_and_a_bad_token_is_nobody(client: FlaskClient) -> None:
    """A percent-encoded path matches the plain one; without a decorator an unknown token is nobody and no error."""
    answer = client.get("/caf%C3%A9", headers={"Authorization": "Bearer nonsense"})
    assert answer.get_json() == {"anonymous": True}


def test_a_wrong_method_is_405_and_a_wrong_path_404(client: FlaskClient) -> None:
    """Where only the method is wrong the answer is 405 with Allow; without json_errors both pages are Flask's HTML."""
    wrong = client.delete("/text")
    assert wrong.status_code == 405 and set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD"}
    missing = client.get("/text/")
    assert missing.status_code == 404 and missing.mimetype == wrong.mimetype == "text/html"


def test_an_application_error_is_400_unless_it_says_otherwise(client: FlaskClient) -> None:
    """A ConvexError that leaves a handler is answered with its message, its data and 400."""
    answer = client.get("/refused")
    assert answer.status_code == 400 and answer.get_json() == {"error": "Not today", "data": "Not today"}


def test_an_unexpected_error_says_nothing(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """An exception is a plain 500 with the request's id, in tests too; what it says is in the log only."""
    with caplog.at_level(logging.ERROR):
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.get_json() == {"error": "Internal server error", "requestId": answer.headers["X-Request-Id"]}
    assert "hunter2" in caplog.text


def test_only_an_int_for_a_float_is_converted() -> None:
    """Where a float is expected an int is taken, and a text is not."""
    with memory_backend(Schema(), functions=[double]) as backend:
        assert backend.ctx().run_query(double, price=2) == 4.0
        with pytest.raises(ArgumentValidationError, match=r"\$\.price"):
            backend.ctx().run_query("test_claims:double", price="2")


def test_a_webhook_needs_a_provider() -> None:
    """A webhook's route without a provider is refused when it is defined."""
    with pytest.raises(RegistrationError, match="needs a provider"):
        HttpRouter("http", __name__).webhook("/hook", None)  # type: ignore[arg-type]  # the mistake under test
