"""Tokens that expire or are revoked while a client is connected."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed

from flask_convex_http import CustomJWT, QueryCtx, query
from flask_convex_http.sync.limits import SyncLimits
from flask_convex_http.testing import Clock
from tests.identities.issuer import Issuer
from tests.lengths import LONG
from tests.sync.clients import SyncClient, connected, served
from tests.web.apps import backend_of, deployed

pytestmark = LONG

_ISSUER = "https://issuer.example"


@query
def whoami(ctx: QueryCtx) -> str | None:
    """Return the subject of the caller."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.subject


@contextmanager
def client_with(app: Flask, token: str) -> Iterator[SyncClient]:
    """Yield a client whose token was accepted."""
    with served(app) as host, connected(host) as client:
        client.send("Authenticate", tokenType="User", value=token, baseVersion=0)
        assert client.results[client.subscribe("testIdentities:whoami")] == "alice"
        yield client


def assert_auth_error(client: SyncClient, error: str) -> None:
    """Check that a client gets an AuthError that answers no attempt, and that the connection closes."""
    client.wait(lambda: any(message["type"] == "AuthError" for message in client.received))
    message = client.received[-1]
    assert error in message["error"]
    assert message["authUpdateAttempted"] is False
    with pytest.raises(ConnectionClosed):
        client.receive()


def test_an_expired_token_ends_the_connection(tmp_path: Path) -> None:
    """When its token expires, a client gets an AuthError, so that it sends a new one."""
    issuer, clock = Issuer(), Clock()
    keys = base64.b64encode(issuer.body("/jwks.json")).decode()
    provider = CustomJWT(
        issuer=_ISSUER, jwks=f"data:application/json;base64,{keys}", algorithm="ES256", audience="chat"
    )
    now = int(clock() / 1000)
    token = issuer.token(iss=_ISSUER, aud="chat", sub="alice", iat=now, exp=now + 600)
    options: dict[str, Any] = {"functions": [whoami], "auth_providers": [provider], "clock": clock}
    with deployed(tmp_path, function_api=True, **options) as app, client_with(app, token) as client:
        clock.advance(timedelta(seconds=700))
        assert_auth_error(client, "expired")


def test_a_revoked_token_ends_the_connection(tmp_path: Path) -> None:
    """A client whose token was revoked gets an AuthError with the next check."""
    with deployed(tmp_path, function_api=True, functions=[whoami]) as app:
        app.extensions["convex_http_sync"].limits = SyncLimits(check_seconds=0.0)
        tokens = backend_of(app).tokens
        token, stored = tokens.create(subject="alice")
        with client_with(app, token) as client:
            tokens.revoke(stored.id)
            assert_auth_error(client, "not valid any more")
