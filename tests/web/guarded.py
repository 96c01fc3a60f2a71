"""An app with guarded routes, credentials for them, and the responses to wrong ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Request
from werkzeug.test import TestResponse

from flask_convex_http import (
    ActionCtx,
    Document,
    HttpRouter,
    QueryCtx,
    Schema,
    UserIdentity,
    internal_mutation,
    internal_query,
    require_api_key,
    require_bearer,
    unique,
)
from flask_convex_http.runtime import MutationCtx
from flask_convex_http.testing import Clock
from tests.web.apps import backend_of, deployed, send

MISSING_KEY = (401, {"error": "Missing API key"})
INVALID_KEY = (403, {"error": "Invalid API key"})
MISSING_TOKEN = (401, {"error": "Missing or invalid Authorization header"})
INVALID_TOKEN = (403, {"error": "Invalid token"})
SCOPE = (403, {"error": "Insufficient scope"})


class Person(Document, table="people", indexes={"by_token": unique("token")}):
    """A person with a token that the application checks itself."""

    token: str
    name: str


@internal_mutation
def add_person(ctx: MutationCtx, *, token: str) -> None:
    """Add a person."""
    ctx.db.insert(Person(token=token, name="Ada"))


@internal_query
def who(ctx: QueryCtx) -> str | None:
    """Return the caller's token identifier, or None."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.token_identifier


@internal_query
def whoever(ctx: QueryCtx) -> str:
    """Return the caller's subject."""
    return ctx.identity.subject


@internal_mutation
def sign(ctx: MutationCtx) -> str:
    """Return the caller's subject, from a transaction."""
    return ctx.identity.subject


@internal_query
def count_people(ctx: QueryCtx) -> int:
    """Return the number of people, without asking for the caller."""
    return len(ctx.db.query(Person).collect())


@internal_query
def as_identity(ctx: QueryCtx, *, token: str) -> UserIdentity | None:
    """Return an identity for one token, and None for all others."""
    return UserIdentity(subject="ada", issuer="me", scopes=("read",)) if token == "good" else None


@internal_query
def as_document(ctx: QueryCtx, *, token: str) -> Person | None:
    """Return the person with this token, or None."""
    return ctx.db.query(Person).with_index("by_token", token=token).unique()


@internal_query
def as_dict(ctx: QueryCtx, *, token: str) -> dict[str, Any] | None:
    """Return a dict for one token, and a dict without a subject for another."""
    known: dict[str, dict[str, Any]] = {
        "good": {"subject": "ada", "scopes": ["read"], "plan": "free"},
        "odd": {"name": "no subject"},
    }
    return known.get(token)


@internal_query
def takes_nothing(ctx: QueryCtx) -> None:
    """Return nothing; a query without parameters cannot check a token."""


FUNCTIONS: list[Any] = [add_person, count_people, who, as_identity, as_document, as_dict, takes_nothing]


def new_handler() -> Callable[[ActionCtx, Request], dict[str, Any]]:
    """Return a new handler that returns the identity, its own and that of a query which it runs."""

    def whoami(ctx: ActionCtx, request: Request) -> dict[str, Any]:
        return {"identity": ctx.auth.get_user_identity(), "query": ctx.run_query(who)}

    return whoami


@contextmanager
def guarded(folder: Path, clock: Clock | None = None) -> Iterator[Flask]:
    """Yield an app with one route for each kind of check."""
    http = HttpRouter("http", __name__)
    http.get("/open", endpoint="open")(new_handler())
    http.get("/key", endpoint="key")(require_api_key(new_handler()))
    http.get("/key/read", endpoint="key_read")(require_api_key(scopes=["read"])(new_handler()))
    http.get("/key/both", endpoint="key_both")(require_api_key(scopes=["read", "write"])(new_handler()))
    http.get("/token", endpoint="token")(require_bearer(new_handler()))
    http.get("/token/read", endpoint="token_read")(require_bearer(scopes=["read"])(new_handler()))
    for name, query in {"identity": as_identity, "document": as_document, "dict": as_dict}.items():
        http.get(f"/own/{name}", endpoint=name)(require_bearer(validate=query)(new_handler()))
        http.get(f"/own/{name}/key", endpoint=name + "_key")(require_api_key(validate=query)(new_handler()))
    http.get("/own/name", endpoint="name")(require_bearer(validate="as_identity", scopes=["read"])(new_handler()))
    http.get("/own/nothing", endpoint="nothing")(require_bearer(validate=takes_nothing)(new_handler()))
    with deployed(folder, http, schema=Schema(Person), functions=FUNCTIONS, clock=clock) as app:
        yield app


def new_key(app: Flask, *scopes: str, **fields: Any) -> str:
    """Create an API key with these scopes and return its text."""
    keys = backend_of(app).api_keys
    return keys.create(name="me", scopes=scopes, **fields)[0]


def new_token(app: Flask, *scopes: str) -> str:
    """Create an access token with these scopes and return its text."""
    tokens = backend_of(app).tokens
    return tokens.create(subject="ada", scopes=scopes)[0]


def get_with_key(app: Flask, path: str, key: str | None) -> tuple[int, Any]:
    """Send a GET with an API key and return the status and the JSON."""
    return status_and_json(send(app, "GET", path, **({} if key is None else {"HTTP_X_API_KEY": key})))


def get_with_authorization(app: Flask, path: str, header: str | None) -> tuple[int, Any]:
    """Send a GET with an Authorization header and return the status and the JSON."""
    return status_and_json(send(app, "GET", path, **({} if header is None else {"HTTP_AUTHORIZATION": header})))


def status_and_json(response: TestResponse) -> tuple[int, Any]:
    """Return the status and the JSON of a response."""
    return response.status_code, response.json
