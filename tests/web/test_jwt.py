"""JWTs over HTTP: guards, lazy identities, hostile headers, and no fetch inside a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flask_convex_http import (
    OIDC,
    ActionCtx,
    AuthenticationError,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    RegistrationError,
    internal_action,
    internal_mutation,
    internal_query,
    json_response,
    require_api_key,
    require_bearer,
    require_identity,
)
from flask_convex_http.extension import ConvexHTTP
from flask_convex_http.identities import key_cache
from flask_convex_http.testing import run_scheduled
from tests.databases import EACH_ENGINE
from tests.identities.issuer import AUDIENCE, Issuer, encoded, issuing
from tests.lengths import examples
from tests.web.apps import backend_of, deployed, send

INVALID = (403, {"error": "Invalid token"})


@internal_query
def subject(ctx: QueryCtx) -> str | None:
    """Return the subject of the caller, or None."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.subject


@internal_mutation
def subject_in_mutation(ctx: MutationCtx) -> str | None:
    """Return the subject of the caller, or None, through a query inside of a mutation."""
    ctx.scheduler.run_after(0, leave_note)
    return ctx.run_query(subject)


@internal_action
def subject_in_action(ctx: ActionCtx) -> str | None:
    """Return the subject of the caller, or None, through a mutation of an action."""
    return ctx.run_mutation(subject_in_mutation)


@internal_mutation
def leave_note(ctx: MutationCtx) -> str | None:
    """Return the subject of the caller, or None."""
    NOTES.append(ctx.run_query(subject))
    return None


@internal_mutation
def ask_nothing(ctx: MutationCtx) -> int:
    """Return a number, whoever calls."""
    return 1


NOTES: list[str | None] = []
FUNCTIONS: list[Any] = [subject, subject_in_mutation, subject_in_action, leave_note, ask_nothing]


@contextmanager
def protected(folder: Path, issuer: Issuer, **config: Any) -> Iterator[Flask]:
    """Yield an app with a route for each way to the identity."""
    http = HttpRouter("http", __name__)
    http.get("/guarded", endpoint="guarded")(require_bearer(scopes=["read"])(lambda ctx, request: identity_in(ctx)))
    http.get("/any", endpoint="any")(require_identity(lambda ctx, request: identity_in(ctx)))
    http.get("/key", endpoint="key")(require_api_key(lambda ctx, request: identity_in(ctx)))
    http.get("/open", endpoint="open")(lambda ctx, request: {"subject": ctx.run_action(subject_in_action)})
    http.get("/silent", endpoint="silent")(lambda ctx, request: {"number": ctx.run_mutation(ask_nothing)})

    @http.get("/caught")
    def caught(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        try:
            return {"subject": ctx.run_mutation(subject_in_mutation)}
        except AuthenticationError as error:
            return {"error": str(error)}

    providers = [OIDC(issuer.url, audience=AUDIENCE)]
    with deployed(folder, http, functions=FUNCTIONS, auth_providers=providers, **config) as app:
        yield app


def identity_in(ctx: ActionCtx) -> Any:
    """Return the JSON of the identity."""
    return json_response(ctx.identity)


def get(app: Flask, path: str, token: str | None) -> TestResponse:
    """Send a GET with a Bearer token."""
    return send(app, "GET", path, **({} if token is None else {"HTTP_AUTHORIZATION": f"Bearer {token}"}))


def result(response: TestResponse) -> tuple[int, Any]:
    """Return the status and the JSON of a response."""
    return response.status_code, response.json


@EACH_ENGINE
def test_guards_accept_jwts(tmp_path: Path) -> None:
    """`@require_bearer` and `@require_identity` accept a JWT beside the package's own credentials."""
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        good = get(app, "/guarded", issuer.token(scope="read"))
        assert (good.status_code, good.json and good.json["subject"]) == (200, "user_1")
        assert result(get(app, "/guarded", issuer.token())) == (403, {"error": "Insufficient scope"})
        assert result(get(app, "/guarded", issuer.token(number=1))) == INVALID
        assert get(app, "/any", issuer.token()).status_code == 200
        assert result(get(app, "/key", issuer.token())) == (403, {"error": "Invalid API key"})
        token, _ = backend_of(app).tokens.create(subject="ada", scopes=["read"])
        key, _ = backend_of(app).api_keys.create(name="ci")
        assert get(app, "/guarded", token).status_code == get(app, "/any", key).status_code == 200


def test_an_expired_token_says_so(tmp_path: Path) -> None:
    """The challenge for an expired token has a description, so that a client knows to refresh it."""
    challenge = 'Bearer error="invalid_token", error_description="The token has expired"'
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        for path, status in {"/guarded": 403, "/open": 401}.items():
            response = get(app, path, issuer.token(exp=1))
            header = response.headers["WWW-Authenticate"]
            assert (response.status_code, header.replace(', scope="read"', "")) == (status, challenge)


@EACH_ENGINE
def test_the_identity_without_a_guard(tmp_path: Path) -> None:
    """Actions, mutations and queries see the identity of a JWT, or raise 401 for one that is not valid."""
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        assert result(get(app, "/open", None)) == (200, {"subject": None})
        assert result(get(app, "/open", issuer.token())) == (200, {"subject": "user_1"})
        assert result(get(app, "/open", issuer.token(number=1))) == (401, {"error": "Invalid token"})
        assert result(get(app, "/silent", issuer.token(number=1))) == (200, {"number": 1})
        reason = get(app, "/caught", issuer.token(aud="other")).json
        assert reason and "No auth provider found" in reason["error"]


@EACH_ENGINE
def test_jobs_have_no_identity(tmp_path: Path) -> None:
    """A job has no identity, although the mutation that scheduled it had one."""
    NOTES.clear()
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        get(app, "/open", issuer.token())
        run_scheduled(backend_of(app))
    assert NOTES == [None]


@EACH_ENGINE
def test_no_transaction_is_open_during_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are fetched before a mutation or a query opens a transaction or a snapshot."""
    open_now: list[str] = []
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        engine, wait = backend_of(app).engine, key_cache.KeyCache._wait
        seen: list[list[str]] = []

        def watched(self: Any, fetch: Any) -> None:
            seen.append(list(open_now))
            wait(self, fetch)

        def marking(call: Any, name: str) -> Any:
            def marked(work: Any, **options: Any) -> Any:
                def inside(transaction: Any) -> Any:
                    open_now.append(name)
                    try:
                        return work(transaction)
                    finally:
                        open_now.remove(name)

                return call(inside, **options)

            return marked

        monkeypatch.setattr(key_cache.KeyCache, "_wait", watched)
        monkeypatch.setattr(engine, "write", marking(engine.write, "write"))
        monkeypatch.setattr(engine, "read", marking(engine.read, "read"))
        assert result(get(app, "/caught", issuer.token())) == (200, {"subject": "user_1"})
    assert seen == [[]]


def test_an_issuer_that_is_down_is_503(tmp_path: Path) -> None:
    """A token that cannot be checked is 503 with Retry-After, and says nothing about the issuer."""
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        issuer.is_down = True
        for path in ("/guarded", "/open"):
            response = get(app, path, issuer.token())
            assert result(response) == (503, {"error": "The token cannot be checked at the moment"})
            assert response.headers["Retry-After"] == "5"


LATIN = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60)
PARTS = st.sampled_from(
    ["", "e30", "bnVsbA", "W10", "MQ", "/w", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJFUzI1NiIsImtpZCI6IiJ9", "=", "[" * 50]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
HEADER = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk"]), JSON, max_size=4)
CLAIMS = st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "sub", "scope", "scp", "updated_at"]), JSON, max_size=4)


@st.composite
def tokens(draw: st.DrawFn, url: str) -> str:
    """Draw something like a JWT: odd parts, odd headers, and odd claims that are signed by no one."""
    if draw(st.booleans()):
        return ".".join(draw(st.lists(PARTS | LATIN, min_size=1, max_size=5)))
    head = {"alg": "ES256", "kid": "key_1"} | draw(HEADER)
    return f"{encoded(head)}.{encoded({'iss': url, 'aud': AUDIENCE} | draw(CLAIMS))}.{draw(PARTS)}"


def test_no_authorization_causes_a_server_error(tmp_path: Path) -> None:
    """Any `Authorization` and `X-API-Key`, as bytes of a client, has a status below 500 in each kind of route."""
    with issuing() as issuer, protected(tmp_path, issuer) as app:
        scheme = st.sampled_from(["Bearer ", "bearer", "BEARER\t", "Basic ", "", " ", "Bearer Bearer ", "Digest "])
        header = st.builds(str.__add__, scheme, LATIN | tokens(issuer.url))

        @given(header, st.none() | LATIN, st.sampled_from(["/guarded", "/any", "/key", "/open"]))
        @settings(max_examples=examples(1000, sample=40), deadline=None)
        def check(authorization: str, key: str | None, path: str) -> None:
            more = {} if key is None else {"HTTP_X_API_KEY": key}
            response = send(app, "GET", path, HTTP_AUTHORIZATION=authorization, **more)
            assert response.status_code in (200, 401, 403)
            assert response.status_code == 200 or "WWW-Authenticate" in response.headers

        check()


def test_odd_claims_that_the_issuer_signs(tmp_path: Path) -> None:
    """Odd claims that the issuer itself has signed cause no server error."""
    with issuing() as issuer, protected(tmp_path, issuer) as app:

        @given(CLAIMS)
        @settings(max_examples=examples(300, sample=20), deadline=None)
        def check(claims: dict[str, Any]) -> None:
            assert get(app, "/open", issuer.token(**claims)).status_code in (200, 401)

        check()


def test_providers_are_a_list_of_providers() -> None:
    """`auth_providers=` that is no list of providers is refused at start."""
    provider = OIDC("https://auth.example", audience="a")
    for wrong in (provider, ["https://auth.example"], [None]):
        with pytest.raises(RegistrationError, match="auth_providers= takes"):
            ConvexHTTP(auth_providers=wrong)  # type: ignore[arg-type]
