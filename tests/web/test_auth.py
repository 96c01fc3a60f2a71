"""API keys and access tokens over HTTP: statuses, challenges and identities."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_convex_http import (
    ConvexHTTP,
    HttpRouter,
    RegistrationError,
    Schema,
    rate_limit,
    require_api_key,
    require_bearer,
    require_identity,
)
from flask_convex_http.credentials import make_credential
from flask_convex_http.testing import Clock
from tests.lengths import SAMPLED, examples
from tests.web.apps import backend_of, deployed, send
from tests.web.guarded import (
    FUNCTIONS,
    INVALID_KEY,
    INVALID_TOKEN,
    MISSING_KEY,
    MISSING_TOKEN,
    SCOPE,
    Person,
    count_people,
    get_with_authorization,
    get_with_key,
    guarded,
    new_handler,
    new_key,
    new_token,
    sign,
    status_and_json,
    who,
    whoever,
)


def test_api_key_statuses(tmp_path: Path) -> None:
    """A missing API key is 401, an unknown key or a missing scope 403, and a valid key sets the identity."""
    with guarded(tmp_path) as app:
        plain, reader = new_key(app), new_key(app, "read")
        assert get_with_key(app, "/key", None) == MISSING_KEY
        assert get_with_key(app, "/key", "") == MISSING_KEY
        assert get_with_key(app, "/key", "nonsense") == INVALID_KEY
        assert get_with_key(app, "/key", plain[:-1] + "!") == INVALID_KEY
        assert get_with_key(app, "/key/read", plain) == SCOPE
        assert get_with_key(app, "/key/both", reader) == SCOPE
        status, body = get_with_key(app, "/key/read", reader)
    assert (status, body["identity"]["issuer"], body["identity"]["name"]) == (200, "api_key", "me")
    assert body["query"] == f"api_key|{body['identity']['subject']}"


def test_bearer_token_statuses(tmp_path: Path) -> None:
    """A missing token is 401 with WWW-Authenticate, an unknown token or a missing scope 403, and a valid one passes."""
    with guarded(tmp_path) as app:
        token = new_token(app)
        missing = send(app, "GET", "/token")
        assert (*status_and_json(missing), missing.headers["WWW-Authenticate"]) == (*MISSING_TOKEN, "Bearer")
        assert get_with_authorization(app, "/token", "Bearer nonsense") == INVALID_TOKEN
        assert get_with_authorization(app, "/token/read", f"Bearer {token}") == SCOPE
        status, body = get_with_authorization(app, "/token", f"Bearer {token}")
    assert (status, body["identity"]["subject"], body["query"]) == (200, "ada", "access_token|ada")


def test_every_401_and_403_has_a_challenge(tmp_path: Path) -> None:
    """Each 401 and 403 has WWW-Authenticate, which names the scheme, the error and the scopes of the route."""

    def challenge(path: str, **environ: Any) -> str:
        (value,) = send(app, "GET", path, **environ).headers.getlist("WWW-Authenticate")
        return value

    with guarded(tmp_path) as app:
        key, token = new_key(app), new_token(app)
        bad_key, bad_token = {"HTTP_X_API_KEY": "x"}, {"HTTP_AUTHORIZATION": "Bearer x"}
        assert challenge("/key") == 'ApiKey header="X-API-Key"'
        assert challenge("/key", **bad_key) == 'ApiKey header="X-API-Key", error="invalid_token"'
        needs = 'ApiKey header="X-API-Key", error="insufficient_scope", scope="read write"'
        assert challenge("/key/both", HTTP_X_API_KEY=key) == needs
        assert challenge("/own/document/key") == 'ApiKey header="X-API-Key"'
        assert challenge("/token") == "Bearer"
        assert challenge("/token/read") == 'Bearer scope="read"'
        assert challenge("/token", **bad_token) == 'Bearer error="invalid_token"'
        needs = 'Bearer error="insufficient_scope", scope="read"'
        assert challenge("/token/read", HTTP_AUTHORIZATION=f"Bearer {token}") == needs
        assert challenge("/own/identity", **bad_token) == 'Bearer error="invalid_token"'


def test_a_scope_that_a_header_cannot_hold_is_left_out(tmp_path: Path) -> None:
    """A scope with characters that a header cannot hold is no server error; the challenge leaves the scopes out."""
    http = HttpRouter("http", __name__)
    http.get("/x")(require_bearer(scopes=['läs "allt"\n'])(new_handler()))
    with deployed(tmp_path, http, functions=[who]) as app:
        response = send(app, "GET", "/x")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_kinds_of_credentials_do_not_mix(tmp_path: Path) -> None:
    """An API key is not accepted as a token, nor a token as an API key."""
    with guarded(tmp_path) as app:
        assert get_with_key(app, "/key", new_token(app)) == INVALID_KEY
        assert get_with_authorization(app, "/token", f"Bearer {new_key(app)}") == INVALID_TOKEN


def test_a_route_without_a_guard_has_the_identity_of_a_valid_credential(tmp_path: Path) -> None:
    """Without a guard the identity is None for no credential, and that of a valid key or token in either header."""
    with guarded(tmp_path) as app:
        assert get_with_key(app, "/open", None) == (200, {"identity": None, "query": None})
        assert get_with_authorization(app, "/open", " ") == (200, {"identity": None, "query": None})
        key, token = new_key(app), new_token(app)
        for status, body in (
            get_with_key(app, "/open", key),
            get_with_authorization(app, "/open", f"Bearer {key}"),
            get_with_authorization(app, "/open", f"Bearer {token}"),
        ):
            assert (status, body["query"]) == (200, f"{body['identity']['issuer']}|{body['identity']['subject']}")


def test_an_invalid_credential_is_401_when_a_function_asks(tmp_path: Path) -> None:
    """A credential that is not valid, or of another scheme, raises AuthenticationError where the identity is read."""
    http = HttpRouter("http", __name__)
    http.get("/open")(new_handler())
    http.get("/nested", endpoint="nested")(lambda ctx, request: {"query": ctx.run_query(who)})
    http.get("/silent", endpoint="silent")(lambda ctx, request: {"query": ctx.run_query(count_people)})
    with deployed(tmp_path, http, schema=Schema(Person), functions=FUNCTIONS) as app:
        for header in ("Bearer nonsense", "Bearer", "Basic dTpw", f"Bearer {make_credential('cvxt')}", "\xff"):
            for path in ("/open", "/nested"):
                response = send(app, "GET", path, HTTP_AUTHORIZATION=header)
                assert (*status_and_json(response), response.headers["WWW-Authenticate"]) == (
                    401,
                    {"error": "Invalid token"},
                    'Bearer error="invalid_token"',
                )
            assert get_with_authorization(app, "/silent", header) == (200, {"query": 0})
        assert get_with_key(app, "/open", "nonsense") == (401, {"error": "Invalid API key"})


def test_the_required_identity(tmp_path: Path) -> None:
    """`ctx.identity` is the caller's identity in handlers, queries and mutations, and 401 for an anonymous caller."""
    http = HttpRouter("http", __name__)
    http.get("/me")(lambda ctx, request: {"query": ctx.run_query(whoever), "handler": ctx.identity.subject})
    http.post("/me", endpoint="sign")(lambda ctx, request: {"mutation": ctx.run_mutation(sign)})
    with deployed(tmp_path, http, functions=[whoever, sign]) as app:
        header = {"HTTP_AUTHORIZATION": f"Bearer {new_token(app)}"}
        assert send(app, "GET", "/me", **header).json == {"query": "ada", "handler": "ada"}
        assert send(app, "POST", "/me", **header).json == {"mutation": "ada"}
        response = send(app, "GET", "/me")
    assert (*status_and_json(response), response.headers["WWW-Authenticate"]) == (
        401,
        {"error": "Missing credentials"},
        "Bearer",
    )


def test_any_credential_is_an_identity(tmp_path: Path) -> None:
    """`@require_identity` accepts a key or a token in `Authorization`, and a key in `X-API-Key`."""
    http = HttpRouter("http", __name__)
    http.get("/me")(require_identity(scopes=["read"])(lambda ctx, request: {"issuer": ctx.identity.issuer}))
    with deployed(tmp_path, http) as app:
        key, token, weak = new_key(app, "read"), new_token(app, "read"), new_token(app)
        assert get_with_key(app, "/me", key) == (200, {"issuer": "api_key"})
        assert get_with_authorization(app, "/me", f"Bearer {key}") == (200, {"issuer": "api_key"})
        assert get_with_authorization(app, "/me", f"Bearer {token}") == (200, {"issuer": "access_token"})
        both = send(app, "GET", "/me", HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_X_API_KEY=key)
        assert both.json == {"issuer": "access_token"}
        missing = send(app, "GET", "/me")
        assert status_and_json(missing) == (401, {"error": "Missing credentials"})
        assert missing.headers["WWW-Authenticate"] == 'Bearer scope="read", ApiKey header="X-API-Key"'
        assert get_with_key(app, "/me", "nonsense") == (403, {"error": "Invalid credentials"})
        assert get_with_authorization(app, "/me", "Bearer nonsense") == (403, {"error": "Invalid credentials"})
        assert get_with_authorization(app, "/me", f"Bearer {weak}") == SCOPE


def test_an_api_key_may_be_a_bearer_token(tmp_path: Path) -> None:
    """`@require_api_key` accepts the key in `Authorization: Bearer`; `X-API-Key` comes first."""
    with guarded(tmp_path) as app:
        key = new_key(app)
        assert get_with_authorization(app, "/key", f"Bearer {key}")[0] == 200
        assert get_with_authorization(app, "/key", "Bearer nonsense") == INVALID_KEY
        assert get_with_authorization(app, "/key", f"Basic {key}") == MISSING_KEY
        first = send(app, "GET", "/key", HTTP_X_API_KEY="nonsense", HTTP_AUTHORIZATION=f"Bearer {key}")
        assert status_and_json(first) == INVALID_KEY


def test_the_status_of_invalid_credentials(tmp_path: Path) -> None:
    """`invalid_status=` of a guard comes before the setting, and changes neither a missing scope nor the challenge."""
    http = HttpRouter("http", __name__)
    http.get("/default", endpoint="default")(require_bearer(new_handler()))
    http.get("/403", endpoint="forbidden")(require_bearer(invalid_status=403)(new_handler()))
    http.get("/401", endpoint="scoped")(require_api_key(invalid_status=401, scopes=["read"])(new_handler()))
    config: dict[str, Any] = {"CONVEX_INVALID_CREDENTIAL_STATUS": 401}
    with deployed(tmp_path, http, functions=[who], **config) as app:
        response = send(app, "GET", "/default", HTTP_AUTHORIZATION="Bearer x")
        assert status_and_json(response) == (401, {"error": "Invalid token"})
        assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert get_with_authorization(app, "/403", "Bearer x") == INVALID_TOKEN
        assert get_with_key(app, "/401", "x") == (401, {"error": "Invalid API key"})
        assert get_with_key(app, "/401", new_key(app)) == SCOPE
    with pytest.raises(RegistrationError, match="401 or 403"):
        require_identity(invalid_status=400)  # type: ignore[call-overload]


def test_a_limit_above_a_guard_does_not_check_the_credential(tmp_path: Path) -> None:
    """A rate limit above a guard counts the address, so that no one can guess credentials without a limit."""
    http = HttpRouter("http", __name__)
    http.get("/me")(rate_limit(rate=2, period=60)(require_bearer(new_handler())))
    with deployed(tmp_path, http, functions=[who]) as app:
        statuses = [get_with_authorization(app, "/me", f"Bearer guess{number}")[0] for number in range(3)]
        assert [*statuses, get_with_authorization(app, "/me", f"Bearer {new_token(app)}")[0]] == [403, 403, 429, 429]


def test_expired_and_revoked_keys(tmp_path: Path) -> None:
    """A key is rejected from the moment at which it expires or is revoked."""
    clock = Clock()
    with guarded(tmp_path, clock) as app:
        soon = clock() + 60_000
        expiring, revoked, lasting = new_key(app, expires_at=soon), new_key(app, revoked_at=soon), new_key(app)
        assert [get_with_key(app, "/key", key)[0] for key in (expiring, revoked, lasting)] == [200, 200, 200]
        clock.advance(timedelta(minutes=1))
        assert get_with_key(app, "/key", expiring) == get_with_key(app, "/key", revoked) == INVALID_KEY
        assert get_with_key(app, "/key", lasting)[0] == 200
        keys = backend_of(app).api_keys
        (found,) = (known for known in keys.all() if lasting.startswith(known.hint))
        keys.revoke(found.id)
        assert get_with_key(app, "/key", lasting) == INVALID_KEY


@pytest.mark.parametrize(
    "header", ["", " ", "Bearer", "Bearer ", "Bearer   ", "Basic abc", "Token abc", "Bearerabc", "abc"]
)
def test_headers_without_a_token(tmp_path: Path, header: str) -> None:
    """A header with another scheme or without a token counts as missing."""
    with guarded(tmp_path) as app:
        assert get_with_authorization(app, "/token", header) == MISSING_TOKEN


def test_headers_with_a_token(tmp_path: Path) -> None:
    """The scheme's case and spaces around the token do not matter; any other text is an invalid token."""
    with guarded(tmp_path) as app:
        token = new_token(app)
        for header in (f"bearer {token}", f"BEARER {token}", f"Bearer  {token}", f"Bearer {token} "):
            assert get_with_authorization(app, "/token", header)[0] == 200
        for header in (f"Bearer {token} x", f'Bearer "{token}"', "Bearer é\xff", "Bearer " + "a" * 100_000):
            assert get_with_authorization(app, "/token", header) == INVALID_TOKEN


@SAMPLED
def test_no_credential_causes_a_server_error(tmp_path: Path) -> None:
    """No key or token text causes a server error."""
    with guarded(tmp_path) as app:

        @given(value=st.text(st.characters(max_codepoint=255), max_size=60))
        @settings(max_examples=examples(50), deadline=None)
        def check(value: str) -> None:
            for prefix in ("", "cvx_", "cvxt_"):
                assert get_with_key(app, "/key", prefix + value)[0] in (401, 403)
                assert get_with_authorization(app, "/token", f"Bearer {prefix}{value}")[0] in (401, 403)

        check()


def test_scopes_must_be_a_list() -> None:
    """A text as scopes= raises RegistrationError, because its letters would be the scopes."""
    for check in (require_api_key, require_bearer):
        with pytest.raises(RegistrationError, match=r"write scopes=\['read'\]"):
            check(scopes="read")(new_handler())


def test_malformed_key_does_not_touch_the_database(tmp_path: Path) -> None:
    """A malformed key is rejected without opening the database."""
    http = HttpRouter("http", __name__)
    http.get("/key")(require_api_key(new_handler()))
    app = Flask("unmigrated", instance_path=str(tmp_path / "instance"))
    ConvexHTTP(app, functions=FUNCTIONS, schema=Schema(Person))
    app.register_blueprint(http)
    try:
        assert get_with_key(app, "/key", "cvx_" + "a" * 49) == INVALID_KEY
        assert not (tmp_path / "instance").exists()
    finally:
        backend_of(app).close()


def test_the_claims_of_a_token_with_a_name_have_its_id(tmp_path: Path) -> None:
    """A handler knows which token of its caller a request has sent, so that it can revoke it."""
    http = HttpRouter("http", __name__)
    http.get("/me")(require_bearer(lambda ctx, request: ctx.identity.claims))
    with deployed(tmp_path, http) as app:
        token, stored = backend_of(app).tokens.create(subject="ada", name="phone")
        assert get_with_authorization(app, "/me", f"Bearer {token}") == (200, {"token_id": stored.id})
        assert get_with_authorization(app, "/me", f"Bearer {new_token(app)}") == (200, {})
