"""The page of API keys, access tokens and admin keys."""

import re
from datetime import timedelta

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import testing
from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, next_page, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<script>alert(1)</script>"


def secret_in(response: TestResponse) -> str:
    """Return the key that a page shows."""
    found = re.search(r'id="secret" class="code" value="([^"]+)"', response.text)
    assert found is not None, response.text
    return found[1]


def test_empty(visitor: Visitor) -> None:
    """Without keys the page says how to create one."""
    assert "flask convex keys create" in text_of(visitor.get("/keys"))


def test_life_of_a_key(app: Flask, visitor: Visitor) -> None:
    """A key is shown once, works, is rotated with an overlap, and is revoked."""
    testing.use_clock(app)
    store = backend_of(app).api_keys
    fields = {"kind": "key", "name": HOSTILE, "owner": "user_1", "scopes": "read, write read", "expires": "30 days"}
    response = visitor.post("/keys/create", **fields)
    key, [stored] = secret_in(response), store.all()
    assert store.verify(key) is not None and stored.scopes == ["read", "write"] and stored.owner == "user_1"
    assert stored.expires_at == stored.creation_time + timedelta(days=30).total_seconds() * 1000
    listed = visitor.get("/keys")
    assert key not in listed.text and HOSTILE not in listed.text and HOSTILE in text_of(listed)
    second = secret_in(visitor.post("/keys/rotate", kind="key", id=stored.id, overlap="1 hour"))
    assert store.verify(key) is not None and store.verify(second) is not None
    visitor.post("/keys/revoke", kind="key", id=stored.id)
    assert store.verify(key) is None and store.verify(second) is not None
    refused = visitor.post("/keys/rotate", kind="key", id=stored.id, overlap="1 hour")
    assert "is revoked. Create a new one" in text_of(refused)


def test_tokens_of_an_owner(visitor: Visitor, app: Flask) -> None:
    """A token needs a subject, by which the list is filtered."""
    assert "needs a subject" in text_of(visitor.post("/keys/create", kind="token", expires="never"))
    for subject in ("user_1", "user_2"):
        token = secret_in(visitor.post("/keys/create", kind="token", subject=subject, expires="never"))
        assert backend_of(app).tokens.verify(token) is not None
    listed = text_of(visitor.get("/keys?owner=user_2"))
    assert listed.count("user_2") and "user_1" not in listed


@pytest.mark.parametrize("owner", ["", "user_1"])
def test_pages(app: Flask, visitor: Visitor, owner: str) -> None:
    """Each of the lists of keys and tokens is read in pages, the newest first."""
    backend = backend_of(app)
    for number in range(52):
        backend.api_keys.create(name=f"key-{number:02}", owner="user_1")
        backend.tokens.create(subject="user_1", name=f"token-{number:02}")
    first = visitor.get(f"/keys?owner={owner}").text
    assert "key-51" in first and "key-02" in first and "key-01" not in first and "token-01" not in first
    second = visitor.client.get(next_page(first)).text
    assert "key-01" in second and "key-02" not in second and "token-51" in second
    cursor = next_page(first).partition("keys=")[2]
    assert visitor.get(f"/keys?tokens={cursor}").status_code == 400


def test_admin_keys(app: Flask, visitor: Visitor) -> None:
    """An admin key is listed by its first characters, and revoked."""
    key, stored = backend_of(app).admin_keys.create("laptop", read_only=True)
    listed = visitor.get("/keys")
    assert stored.hint in listed.text and key not in listed.text and "read-only" in listed.text
    assert "Revoked" in text_of(visitor.post("/keys/admin/revoke", hint=stored.hint))
    assert backend_of(app).admin_keys.all() == []
    assert "no such admin key" in text_of(visitor.post("/keys/admin/revoke", hint=stored.hint))


def test_bad_input(visitor: Visitor) -> None:
    """A form that the page would not send is rejected, and names what is wrong."""
    assert visitor.post("/keys/create", kind="spoon", name="a", expires="never").status_code == 400
    assert visitor.post("/keys/create", kind="key", name="a", expires="tomorrow").status_code == 400
    assert visitor.post("/keys/create", kind="key", name="a" * 201, expires="never").status_code == 400
    assert visitor.post("/keys/revoke", kind="key", id="nobody").status_code == 404
    assert "needs a name" in text_of(visitor.post("/keys/create", kind="key", expires="never"))


def test_read_only(app: Flask, reader: Visitor) -> None:
    """A read-only session sees the keys and changes none."""
    _, stored = backend_of(app).api_keys.create(name="ci")
    page = reader.get("/keys")
    assert stored.hint in page.text and "keys/create" not in page.text and "keys/revoke" not in page.text
    for path in ("create", "rotate", "revoke", "admin/revoke"):
        assert reader.post(f"/keys/{path}", kind="key", id=stored.id, name="x", expires="never").status_code == 403
    assert len(backend_of(app).api_keys.all()) == 1
