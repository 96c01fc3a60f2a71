"""No secret of a request, an argument or a delivery reaches a log record."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ActionCtx,
    Document,
    GitHub,
    HttpRouter,
    Id,
    MutationCtx,
    Schema,
    WebhookEvent,
    mutation,
    require_api_key,
    require_bearer,
    unique,
)
from flask_convex_http.logs.json_lines import JsonFormatter
from flask_convex_http.testing import run_scheduled
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of, deployed

pytestmark = SAMPLED


class Account(Document, table="accounts", indexes={"by_token": unique("token")}):
    """An account with a secret."""

    token: str
    age: int = 0


@mutation
def register(ctx: MutationCtx, *, token: str, age: int = 0) -> Id[Account]:
    """Register an account twice over, which a unique index rejects."""
    ctx.scheduler.run_after(0, register_again, token=token)
    return ctx.db.insert(Account(token=token, age=age))


@mutation
def register_again(ctx: MutationCtx, *, token: str) -> Id[Account]:
    """Register an account."""
    return ctx.db.insert(Account(token=token))


def _router() -> HttpRouter:
    http = HttpRouter("http", __name__)

    @http.post("/accounts/<token>")
    def create(ctx: ActionCtx, request: Request, token: str) -> Any:
        return {"id": ctx.run_mutation(register, token=token)}

    @http.post("/typed")
    def typed(ctx: ActionCtx, request: Request, body: dict[str, int]) -> Any:
        return {}

    @http.get("/keys")
    @require_api_key()
    def keys(ctx: ActionCtx, request: Request) -> Any:
        return {}

    @http.get("/bearer")
    @require_bearer()
    def bearer(ctx: ActionCtx, request: Request) -> Any:
        return {}

    @http.webhook("/hooks/github", GitHub(secret="s" * 32))
    def pushed(ctx: MutationCtx, event: WebhookEvent) -> None:
        return None

    return http


@pytest.fixture(name="app", scope="module")
def _app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder: Path = tmp_path_factory.mktemp("secrets")
    functions: list[Any] = [register, register_again]
    rows: dict[str, Any] = {"CONVEX_LOG_ROWS": 10_000}
    with deployed(folder, _router(), schema=Schema(Account), functions=functions, function_api=True, **rows) as app:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        yield app


def _send(app: Flask, secret: str) -> None:
    """Send requests of many kinds with a secret wherever one may be."""
    client = app.test_client()
    headers = {
        "Authorization": f"Bearer {secret}",
        "X-API-Key": secret,
        "Cookie": f"session={secret}",
        "X-Hub-Signature-256": f"sha256={secret}",
        "X-GitHub-Event": "push",
    }
    for _ in range(2):  # the second one is a duplicate, which a unique index rejects
        client.post(f"/accounts/{secret}?key={secret}", headers={"Cookie": secret})
    client.post("/typed", json={"token": secret}, headers={"X-API-Key": secret})
    client.post("/typed", data=secret, headers={"Content-Type": "application/json"})
    client.get("/keys", headers=headers)
    client.get("/bearer", headers=headers)
    client.post("/hooks/github", data=json.dumps({"token": secret}), headers=headers)
    client.get(f"/{secret}/{secret}", headers=headers)
    client.open("/keys", method="GET", headers={"X-Request-Id": f"{secret} {secret}"})
    for arguments in ({"token": secret}, {"token": secret, "age": secret}, {"tokn": secret}, {"token": [secret]}):
        body = {"path": "testSecrets:register", "args": arguments, "format": "json"}
        client.post("/api/mutation", json={**body, "path": "test_secrets:register"}, headers={"Cookie": secret})
    client.post("/api/mutation", json={"path": "test_secrets:register", "args": {}}, headers=headers)
    with app.app_context():
        run_scheduled(app)


@settings(
    max_examples=examples(60, sample=4), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(secret=st.from_regex(r"(cvx|whsec|sk_live)_[A-Za-z0-9]{24,40}", fullmatch=True))
def test_no_secret_reaches_a_record(app: Flask, secret: str) -> None:
    """Neither the store nor a JSON line has the secret, wherever the client has put it."""
    logs, found = backend_of(app).logs, []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "convex_event" not in record.__dict__:  # a line of text, which JSON leaves out
                found.append(JsonFormatter().format(record))

    handler, last = Lines(), logs.newest()
    logging.root.addHandler(handler)
    try:
        _send(app, secret)
    finally:
        logging.root.removeHandler(handler)
    records = logs.read(after=last, limit=10_000)
    assert len(records) > 10
    leaks = [record for record in records if secret in repr(record)]
    assert not leaks
    assert not [line for line in found if secret in line]
