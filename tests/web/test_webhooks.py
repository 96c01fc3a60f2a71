"""Webhooks on a router: verification, the handler's transaction, and the responses to senders."""

import gzip
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound, ServiceUnavailable, TooManyRequests

from flask_convex_http import (
    ConvexError,
    DocumentNotFoundError,
    GitHub,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    OverloadedError,
    RegistrationError,
    Schema,
    UniqueConstraintError,
    WebhookEvent,
    error_response,
    from_env,
)
from flask_convex_http.errors import ConvexHTTPError, VerificationError
from flask_convex_http.webhooks import Shopify
from tests.web.apps import backend_of, deployed, send, send_chunked
from tests.web.orders_webhook import BODY, SECRET, VARIABLE, Order, deliver, orders, provider, receiving, sign, store


def stored_events(app: Flask) -> list[str]:
    """Return the event ids of all orders in the database."""
    return backend_of(app).ctx().run_query(orders)


def test_handler_gets_a_transaction_and_the_event(tmp_path: Path) -> None:
    """A handler receives the ctx of a mutation and the verified event; returning None responds "OK"."""
    seen: list[WebhookEvent] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        assert isinstance(ctx, MutationCtx)
        seen.append(event)
        store(ctx, event)

    with receiving(tmp_path, handler, ["another secret", SECRET]) as app:
        response = deliver(app)
        assert (response.status_code, response.text, response.content_type) == (200, "OK", "text/plain; charset=utf-8")
        assert stored_events(app) == ["evt_1"]
    (event,) = seen
    assert (event.type, event.payload["total"], event.body, event.secret_label) == ("order.paid", 3, BODY, "secret 2")
    assert abs(event.received_at - time.time() * 1000) < 60_000


@pytest.mark.parametrize(
    ("value", "status", "content_type"),
    [({"a": 1}, 200, "application/json"), (("x", 202), 202, "text/html; charset=utf-8"), ([], 200, "application/json")],
)
def test_handler_may_return_any_response(tmp_path: Path, value: Any, status: int, content_type: str) -> None:
    """A handler of a webhook may return any value that another handler may return."""
    with receiving(tmp_path, lambda ctx, event: value) as app:
        response = deliver(app)
    assert (response.status_code, response.content_type) == (status, content_type)


def test_a_compressed_delivery_is_415(tmp_path: Path) -> None:
    """A compressed delivery is 415 and runs nothing, since the signature and the handler are about the plain body."""
    body = gzip.compress(BODY)
    with receiving(tmp_path, store) as app:
        response = deliver(app, body, sign(body), HTTP_CONTENT_ENCODING="gzip")
        assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "identity")
        assert stored_events(app) == []


def test_error_response_rolls_back(tmp_path: Path) -> None:
    """An error response that a handler returns is sent and rolls back, and each duplicate runs the handler again."""
    runs: list[str] = []

    def handler(ctx: MutationCtx, event: WebhookEvent) -> Response:
        store(ctx, event)
        runs.append(event.id)
        return error_response("later", 422)

    with receiving(tmp_path, handler) as app:
        for count in (1, 2):
            response = deliver(app)
            assert (response.status_code, response.json) == (422, {"error": "later"})
            assert (stored_events(app), len(runs)) == ([], count)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), 500),
        (ConvexError("x", status=409), 409),
        (ConvexError("x", status=429), 429),
        (ConvexError("x", status=503), 503),
        (NotFound("x"), 404),
        (TooManyRequests("x"), 429),
        (ServiceUnavailable("x"), 503),
        (DocumentNotFoundError("x"), 500),
        (UniqueConstraintError("x"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exception_rolls_back(tmp_path: Path, error: Exception, status: int) -> None:
    """An exception rolls back.

    The sender receives the status of a ConvexError or an HTTPException. Any other error of the package is the handler's
    mistake and a 500.
    """

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        store(ctx, event)
        raise error

    with receiving(tmp_path, handler) as app:
        assert deliver(app).status_code == status
        assert stored_events(app) == []


def test_duplicate_returns_the_stored_response(tmp_path: Path) -> None:
    """A duplicate returns the stored response and does not run the handler."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> Any:
        store(ctx, event)
        return {"count": len(ctx.db.query(Order).collect())}, 201

    with receiving(tmp_path, handler) as app:
        for response in [deliver(app) for _ in range(3)]:
            assert (response.status_code, response.json) == (201, {"count": 1})
        assert stored_events(app) == ["evt_1"]


def test_rejected_delivery_is_400(tmp_path: Path) -> None:
    """A delivery without a valid signature is 400 and does not run the handler."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        raise AssertionError("called")

    with receiving(tmp_path, handler) as app:
        unsigned = send(app, "POST", "/hook", BODY, CONTENT_LENGTH=str(len(BODY)))
        assert (unsigned.status_code, unsigned.json) == (400, {"error": "Missing X-Signature header"})
        for response in (
            deliver(app, signature=""),
            deliver(app, signature="é"),
            deliver(app, signature=sign(secret="wrong")),
            deliver(app, BODY + b" ", signature=sign()),
            deliver(app, b"not json"),
            deliver(app, CONTENT_LENGTH=str(len(BODY) + 9)),
        ):
            assert response.status_code == 400
        assert send(app, "GET", "/hook").status_code == 405


def test_delivery_in_chunks(tmp_path: Path) -> None:
    """A chunked delivery verifies like one with an announced length."""
    with receiving(tmp_path, store) as app:
        assert send_chunked(app, "/hook", BODY, HTTP_X_SIGNATURE=sign()).text == "OK"
        assert stored_events(app) == ["evt_1"]


@pytest.mark.parametrize("limit", [len(BODY), len(BODY) - 1])
def test_body_limit(tmp_path: Path, limit: int) -> None:
    """A webhook's own body limit is a 413, announced or in chunks."""
    with receiving(tmp_path, lambda ctx, event: None, max_body_bytes=limit) as app:
        status = 200 if limit == len(BODY) else 413
        assert deliver(app).status_code == status
        assert send_chunked(app, "/hook", BODY, HTTP_X_SIGNATURE=sign()).status_code == status


@pytest.mark.parametrize(
    ("router_limit", "own_limit", "largest"),
    [(None, None, 25 * 2**20), (1000, None, 1000), (1000, 2000, 2000), (None, 2000, 2000)],
)
def test_body_limit_of_the_sender(
    tmp_path: Path, router_limit: int | None, own_limit: int | None, largest: int
) -> None:
    """A webhook takes bodies up to its sender's cap, GitHub's 25 MB, unless it or its router has a limit."""
    http = HttpRouter("http", __name__, max_body_bytes=router_limit)
    http.webhook("/hook", GitHub(secret=SECRET), max_body_bytes=own_limit)(store)
    with deployed(tmp_path, http, schema=Schema(Order), functions=[orders]) as app:
        for size, status in ((largest, 200), (largest + 1, 413)):
            body = b'"' + b"a" * (size - 2) + b'"'
            signature = {"HTTP_X_HUB_SIGNATURE_256": f"sha256={sign(body)}", "CONTENT_LENGTH": str(size)}
            assert send(app, "POST", "/hook", body, **signature).status_code == status


def test_unset_variable_is_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the variable of the secret is unset every delivery is a 503 with Retry-After. Only the log names it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    caplog.set_level(logging.INFO, logger="flask_convex_http.webhooks")
    with receiving(tmp_path, store, from_env(VARIABLE), max_body_bytes=10) as app:
        for response in (
            deliver(app),
            deliver(app, b""),
            deliver(app, signature=""),
            send(app, "POST", "/hook"),
            send(app, "POST", "/hook", b"x", CONTENT_LENGTH="9"),
            send_chunked(app, "/hook", b"x" * 1000),
        ):
            assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
            assert response.json == {"error": "The signing secret is not set"}
        assert [record.levelname for record in caplog.records] == ["ERROR"] * 6
        assert all(VARIABLE in record.getMessage() for record in caplog.records)
        app.debug = True
        assert deliver(app).json == {"error": f"Environment variable {VARIABLE} is not set"}
        monkeypatch.setenv(VARIABLE, SECRET)
        assert deliver(app, b"{}").status_code == 400
        assert stored_events(app) == []


def test_rejection_has_the_status_of_the_sender(tmp_path: Path) -> None:
    """A delivery that does not verify has the status that its sender demands, a 401 with a challenge."""
    http = HttpRouter("http", __name__)
    xero = HmacSignature(secret=SECRET, header="x-xero-signature", encoding="base64")
    for name, sender in (("shopify", Shopify(secret=SECRET)), ("xero", xero), ("hook", provider())):
        http.webhook(f"/{name}", sender, endpoint=name)(store)
    with deployed(tmp_path, http, schema=Schema(Order), functions=[orders]) as app:
        for name, status, challenge in (
            ("shopify", 401, "Webhook-Signature"),
            ("xero", 401, "Webhook-Signature"),
            ("hook", 400, None),
        ):
            response = send(app, "POST", f"/{name}", BODY, CONTENT_LENGTH=str(len(BODY)))
            assert (response.status_code, response.headers.get("WWW-Authenticate")) == (status, challenge)
        assert stored_events(app) == []


def test_mistaken_secret_is_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret in quotes is a 503 that names the mistake, so that the sender retries, and not the variable."""
    monkeypatch.setenv(VARIABLE, f'"{SECRET}"')
    with receiving(tmp_path, store, from_env(VARIABLE)) as app:
        response = deliver(app)
        assert response.status_code == 503
        assert response.json == {"error": "The signing secret is not valid: it has quotes around it"}
        assert f"{VARIABLE} is not a valid signing secret: it has quotes around it" in caplog.text
        monkeypatch.setenv(VARIABLE, SECRET)
        assert deliver(app).status_code == 200
    assert SECRET not in caplog.text


def test_label_is_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event's secret_label is the variable whose secret matched."""
    monkeypatch.setenv(VARIABLE, SECRET)
    labels: list[str] = []
    with receiving(tmp_path, lambda ctx, event: labels.append(event.secret_label), from_env(VARIABLE)) as app:
        assert deliver(app).status_code == 200
    assert labels == [VARIABLE]


def test_busy_database_is_503_with_retry_after(tmp_path: Path) -> None:
    """A delivery that meets a busy database is a 503 with Retry-After, so that the sender retries."""

    def handler(ctx: MutationCtx, event: WebhookEvent) -> None:
        raise OverloadedError("The database is busy")

    with receiving(tmp_path, handler) as app:
        response = deliver(app)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("wrong", [None, "secret", GitHub, object()])
def test_webhook_without_a_provider_is_rejected(wrong: Any) -> None:
    """A webhook without a provider raises RegistrationError."""
    with pytest.raises(RegistrationError, match="anyone could send"):
        HttpRouter("http", __name__).webhook("/hook", wrong)


def test_async_webhook_is_rejected() -> None:
    """An async handler of a webhook raises RegistrationError, because it would leave its transaction."""

    async def handler(ctx: MutationCtx, event: WebhookEvent) -> None: ...

    with pytest.raises(RegistrationError, match="write def"):
        HttpRouter("http", __name__).webhook("/hook", provider())(handler)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("app", VerificationError),
        ("app", ConvexHTTPError),
        ("router", VerificationError),
        ("router", ConvexHTTPError),
        ("router", Exception),
    ],
)
def test_own_error_handler_responds_to_a_forgery(tmp_path: Path, place: str, kind: type[Exception]) -> None:
    """An error handler of the app or the router for VerificationError or its base classes makes the response.

    It can read the body, which was read before.
    """
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider())(lambda ctx, event: None)

    def respond(error: Exception) -> tuple[str, int]:
        assert isinstance(error, VerificationError)
        assert len(request.get_data()) == int(request.headers["Content-Length"]) > 0
        return error.reason, 418

    if place == "router":
        http.register_error_handler(kind, respond)
    with deployed(tmp_path, http, schema=Schema(Order), functions=[orders]) as app:
        if place == "app":
            app.register_error_handler(kind, respond)
        response = deliver(app, signature=sign(secret="other"))
    assert (response.status_code, response.text) == (418, "no-match")


def test_app_handler_of_any_exception_leaves_a_forgery_alone(tmp_path: Path) -> None:
    """An error handler of the app for every exception does not change the status of a rejection."""
    with receiving(tmp_path, lambda ctx, event: None) as app:
        app.register_error_handler(Exception, lambda error: ("unexpected", 500))
        response = deliver(app, signature=sign(secret="other"))
    assert (response.status_code, response.json) == (400, {"error": "Webhook signature does not match"})
