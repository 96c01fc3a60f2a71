"""A chat whose clients are Convex's own, for tests with real servers."""

import os
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http import (
    ConvexError,
    ConvexHTTP,
    CustomJWT,
    Document,
    Id,
    MutationCtx,
    Page,
    PaginationOptions,
    QueryCtx,
    Schema,
    action,
    mutation,
    query,
)
from flask_convex_http.functions.function import Function
from flask_convex_http.runtime import ActionCtx


class Message(Document, table="messages", indexes={"by_channel": ["channel"]}):
    """A message of a channel."""

    channel: str
    body: str
    author: str | None = None


@query
def list_messages(ctx: QueryCtx, *, channel: str) -> list[Message]:
    """Return the messages of a channel."""
    return ctx.db.query(Message).with_index("by_channel", channel=channel).collect()


@query
def page_of(ctx: QueryCtx, *, channel: str, pagination_opts: PaginationOptions) -> Page[Message]:
    """Return a page of the messages of a channel, newest first."""
    return ctx.db.query(Message).with_index("by_channel", channel=channel).order("desc").paginate(pagination_opts)


@query
def whoami(ctx: QueryCtx) -> str | None:
    """Return the subject of the caller."""
    identity = ctx.auth.get_user_identity()
    return None if identity is None else identity.subject


@mutation
def send(ctx: MutationCtx, *, channel: str, body: str) -> Id[Message]:
    """Store a message, which may not be empty."""
    if not body:
        raise ConvexError({"reason": "empty"})
    identity = ctx.auth.get_user_identity()
    return ctx.db.insert(Message(channel=channel, body=body, author=None if identity is None else identity.subject))


@action
def shout(ctx: ActionCtx, *, channel: str, body: str) -> str:
    """Send a text in capital letters, and return it."""
    ctx.run_mutation(send, channel=channel, body=body.upper())
    return body.upper()


FUNCTIONS: list[Function[Any, Any]] = [list_messages, page_of, whoami, send, shout]


def create_app() -> Flask:
    """Create the app with the configuration of the environment."""
    app = Flask("chat", instance_path=str(Path.cwd()))
    app.config.from_prefixed_env()
    providers = []
    if "CHAT_JWKS" in os.environ:
        issuer = "https://issuer.example"
        providers.append(CustomJWT(issuer=issuer, jwks=os.environ["CHAT_JWKS"], algorithm="ES256", audience="chat"))
    ConvexHTTP(app, schema=Schema(Message), functions=FUNCTIONS, auth_providers=providers, function_api=True)
    return app
