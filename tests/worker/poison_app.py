"""An app whose jobs and deliveries kill or block the process that runs them, for servers."""

import os
import re
import time
from typing import Any

from flask import Flask, Request

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    HttpRouter,
    MutationCtx,
    Retry,
    Stripe,
    WebhookEvent,
    internal_mutation,
)
from flask_convex_http.functions.function import Function
from tests.webhooks.senders import SECRET
from tests.worker.workers import SCHEMA, Note, notes, write_note

#: The attempts of a delivery.
MAX_ATTEMPTS = 3


@internal_mutation
def die(ctx: MutationCtx) -> None:
    """Insert a note, and end the process at once as a segmentation fault does."""
    ctx.db.insert(Note(text="died"))
    os._exit(1)


@internal_mutation
def loop(ctx: MutationCtx) -> None:
    """Insert a note, and never end."""
    ctx.db.insert(Note(text="looped"))
    while True:
        pass


@internal_mutation
def block(ctx: MutationCtx) -> None:
    """Insert a note, and wait in C for longer than any test."""
    ctx.db.insert(Note(text="blocked"))
    time.sleep(3600)


@internal_mutation
def backtrack(ctx: MutationCtx) -> None:
    """Run a regular expression that backtracks for years, and keeps Python's other threads from running."""
    re.match(r"(a+)+$", "a" * 60 + "b")


functions: list[Function[Any, Any]] = [die, loop, block, backtrack, write_note, notes]
http = HttpRouter("http", __name__)


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> Any:
    return {"ok": True}


@http.post("/notes/<text>")
def note(ctx: ActionCtx, request: Request, text: str) -> Any:
    ctx.run_mutation(write_note, text=text)
    return {}, 201


@http.webhook("/hook", Stripe(secret=SECRET), mode="enqueue", retry=Retry(max_attempts=MAX_ATTEMPTS, backoff=0.5))
def on_event(ctx: MutationCtx, event: WebhookEvent) -> None:
    ctx.db.insert(Note(text=event.id))
    if event.type == "die":
        os._exit(1)
    while event.type == "loop":
        pass


def create_app() -> Flask:
    """Return the app, configured by the FLASK_CONVEX_ variables of the environment."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    return app
