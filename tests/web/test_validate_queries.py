"""Credentials that a query of the application checks (`validate=`)."""

from pathlib import Path

import pytest

from flask_convex_http import (
    HttpRouter,
    require_bearer,
)
from tests.web.apps import backend_of
from tests.web.guarded import (
    INVALID_KEY,
    INVALID_TOKEN,
    MISSING_TOKEN,
    SCOPE,
    add_person,
    as_identity,
    get_with_authorization,
    get_with_key,
    guarded,
    new_handler,
)


@pytest.mark.parametrize("kind", ["identity", "dict"])
def test_validate_query_returns_an_identity(tmp_path: Path, kind: str) -> None:
    """A validate= query returns an identity, or a dict with a subject, or None to reject the credential."""
    with guarded(tmp_path) as app:
        status, body = get_with_authorization(app, f"/own/{kind}", "Bearer good")
        assert (status, body["identity"]["subject"]) == (200, "ada")
        assert get_with_key(app, f"/own/{kind}/key", "good")[0] == 200
        assert get_with_authorization(app, f"/own/{kind}", "Bearer bad") == INVALID_TOKEN
        assert get_with_key(app, f"/own/{kind}/key", "bad") == INVALID_KEY
        assert get_with_authorization(app, f"/own/{kind}", None) == MISSING_TOKEN


def test_validate_query_returns_a_document(tmp_path: Path) -> None:
    """A document from a validate= query becomes the identity: its id is the subject, its fields are the claims."""
    with guarded(tmp_path) as app:
        backend_of(app).ctx().run_mutation(add_person, token="good")
        status, body = get_with_authorization(app, "/own/document", "Bearer good")
        assert get_with_authorization(app, "/own/document", "Bearer bad") == INVALID_TOKEN
    identity = body["identity"]
    assert (status, identity["name"], identity["issuer"]) == (200, "Ada", "app")
    assert identity["subject"] == identity["claims"]["_id"]
    assert identity["subject"].startswith("people_")


def test_validate_query_by_name(tmp_path: Path) -> None:
    """validate= takes the name of a query, and the scopes of the identity that it returns are checked."""
    with guarded(tmp_path) as app:
        name = next(function.name for function in backend_of(app).functions if function is as_identity)
        http = HttpRouter("named", __name__)
        http.get("/named", endpoint="a")(require_bearer(validate=name, scopes=["read"])(new_handler()))
        http.get("/scope", endpoint="b")(require_bearer(validate=name, scopes=["admin"])(new_handler()))
        app.register_blueprint(http)
        assert get_with_authorization(app, "/named", "Bearer good")[0] == 200
        assert get_with_authorization(app, "/scope", "Bearer good") == SCOPE


def test_unusable_validate_query_is_a_500(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A validate= query that takes no credential or returns no identity is a 500, and the log says why."""
    with guarded(tmp_path) as app:
        assert get_with_authorization(app, "/own/nothing", "Bearer good")[0] == 500
        assert get_with_authorization(app, "/own/dict", "Bearer odd")[0] == 500
    assert "must take the credential" in caplog.text
    assert "must return a UserIdentity" in caplog.text
