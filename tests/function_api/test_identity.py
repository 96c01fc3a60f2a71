"""Callers: users with JWTs, access tokens and API keys, and administrators that may act as a user."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_convex_http import OIDC
from tests.databases import EACH_ENGINE
from tests.function_api.shop import admin_key, call, post, shop
from tests.identities.issuer import AUDIENCE, issuing
from tests.web.apps import backend_of

pytestmark = EACH_ENGINE
WHO = {"path": "shop:whoAmI", "args": {}}


def who(app: Flask, credential: str) -> Any:
    """Return the token identifier of a caller."""
    return call(app, "query", "whoAmI", Authorization=credential)["value"]


def acting(**attributes: Any) -> str:
    """Return an identity to act as, as clients append it to an admin key."""
    return b64encode(json.dumps(attributes).encode()).decode()


def test_tokens_of_users(tmp_path: Path) -> None:
    """A JWT, an access token and an API key identify the caller; the scheme may be written in any case."""
    with issuing() as issuer, shop(tmp_path, auth_providers=[OIDC(issuer.url, audience=AUDIENCE)]) as app:
        assert who(app, f"Bearer {issuer.token()}") == f"{issuer.url}|user_1"
        token, _ = backend_of(app).tokens.create(subject="ada")
        assert who(app, f"bearer {token}") == "access_token|ada"
        key, _ = backend_of(app).api_keys.create(name="ci", owner="bob")
        assert who(app, f"Bearer {key}") == "api_key|bob"
        assert call(app, "query", "whoAmI", X_API_Key=key)["value"] == "api_key|bob"
        assert call(app, "query", "whoAmI")["value"] is None


def test_bad_tokens_are_401(tmp_path: Path) -> None:
    """A token that is not valid is 401 before any function runs, also one that asks for no identity."""
    with issuing() as issuer, shop(tmp_path, auth_providers=[OIDC(issuer.url, audience=AUDIENCE)]) as app:
        expected = {
            issuer.token(exp=1): ("InvalidAuthHeader", "The token has expired"),
            issuer.token(number=1): ("InvalidAuthHeader", "Could not verify"),
            issuer.token(aud="other"): ("NoAuthProvider", "No auth provider found"),
            "garbage": ("InvalidAuthHeader", "Could not verify"),
            "a.b.c": ("InvalidAuthHeader", "Could not verify"),
        }
        for token, (code, message) in expected.items():
            body = {"path": "shop:createItem", "args": {"name": "Lamp"}}
            refused = post(app, "/api/mutation", body, Authorization=f"Bearer {token}")
            assert (refused.status_code, refused.get_json()["code"]) == (401, code)
            assert message in refused.get_json()["message"]
            assert "WWW-Authenticate" in refused.headers
        assert call(app, "query", "listItems")["value"] == []
        assert post(app, "/api/query", WHO, X_API_Key="wrong").status_code == 401


def test_issuer_that_is_away_is_503(tmp_path: Path) -> None:
    """A token that cannot be checked at the moment is 503 with Retry-After."""
    with issuing() as issuer, shop(tmp_path, auth_providers=[OIDC(issuer.url, audience=AUDIENCE)]) as app:
        issuer.is_down = True
        refused = post(app, "/api/query", WHO, Authorization=f"Bearer {issuer.token()}")
        assert (refused.status_code, refused.get_json()["code"]) == (503, "AuthProviderDiscoveryFailed")
        assert refused.headers["Retry-After"]


def test_administrators(tmp_path: Path) -> None:
    """An administrator calls internal functions, is anonymous, and may act as a user."""
    with shop(tmp_path) as app:
        key = admin_key(app)
        for credential in (key, f"prod:{key}", f" {key} "):
            counted = call(app, "query", "countItems", Authorization=f"Convex {credential}")
            assert counted == {"status": "success", "value": "0"}
        assert who(app, f"CONVEX {key}") is None
        user = acting(subject="user_1", issuer="https://clerk.example", name="Ada", role="admin")
        assert who(app, f"Convex {key}:{user}") == "https://clerk.example|user_1"
        assert who(app, f"Convex {key}:{acting(tokenIdentifier='https://a.example|u')}") == "https://a.example|u"
        assert who(app, f"Convex {key}:{acting(name='Ada')}") == "admin|admin"


def test_revoked_admin_keys(tmp_path: Path) -> None:
    """A key that was revoked, or never existed, is 401; another key stays valid."""
    with shop(tmp_path) as app:
        key, other = admin_key(app), admin_key(app)
        keys = backend_of(app).admin_keys
        assert sorted(stored.hint for stored in keys.all()) == sorted([key[:12], other[:12]])
        keys.revoke(key)
        for credential in (key, key[:-1], f"{other}x", "admin_", "x", "é" * 20, f"{key}:{acting(subject='u')}"):
            header = f"Convex {credential}".encode().decode("latin-1")
            refused = post(app, "/api/query", WHO, Authorization=header)
            assert (refused.status_code, refused.get_json()["code"]) == (401, "BadDeployKey")
        assert who(app, f"Convex {other}") is None
        assert [stored.hint for stored in keys.revoke(None)] == [other[:12]]
        assert post(app, "/api/query", WHO, Authorization=f"Convex {other}").status_code == 401


def test_database_has_no_admin_key(tmp_path: Path) -> None:
    """The database has a hash of an admin key, and not the key."""
    with shop(tmp_path) as app:
        key = admin_key(app)
        stored = backend_of(app).admin_keys
        with backend_of(app).engine.snapshot() as snapshot:
            rows = stored._rows(snapshot)
        assert len(rows) == 1
        assert all(key not in text and key[20:40] not in text for text in (rows[0].key, rows[0].value))


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("x", 400, "InvalidHeaderFailure"),
        ("Basic dXNlcjpwYXNz", 400, "InvalidAdminKey"),
        ("Convex KEY:not base64", 400, "HeaderParseFailure"),
        (f"Convex KEY:{acting(claims=5)}", 400, "HeaderParseFailure"),
        (f"Convex KEY:{acting(claims=[1])}", 400, "HeaderParseFailure"),
        ("Convex KEY:W10=", 400, "HeaderParseFailure"),
        ("Convex KEY:eyJzdWJqZWN0Ijo1fQ==", 400, "HeaderParseFailure"),
        ("Convex KEY:" + b64encode(b"[" * 5000).decode(), 400, "HeaderParseFailure"),
        ("Bearer ", 400, "InvalidHeaderFailure"),
        ("Bearer é", 401, "InvalidAuthHeader"),
    ],
)
def test_odd_headers(tmp_path: Path, header: str, status: int, code: str) -> None:
    """A header of another form is a protocol error."""
    with shop(tmp_path) as app:
        sent = header.replace("KEY", admin_key(app)).encode().decode("latin-1")
        refused = post(app, "/api/query", WHO, Authorization=sent)
        assert (refused.status_code, refused.get_json()["code"]) == (status, code)


def test_keys_of_another_kind(tmp_path: Path) -> None:
    """An API key is no admin key, and an admin key is no API key."""
    with shop(tmp_path) as app:
        api_key, _ = backend_of(app).api_keys.create(name="ci")
        assert post(app, "/api/query", WHO, Authorization=f"Convex {api_key}").status_code == 401
        assert post(app, "/api/query", WHO, Authorization=f"Bearer {admin_key(app)}").status_code == 401
