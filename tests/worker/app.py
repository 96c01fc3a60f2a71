"""An app whose requests schedule things, for servers: `create_app()`; its functions tell which process ran them."""

import os
import time
from typing import Any

import msgspec
from flask import Flask, Request, Response

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    HttpRouter,
    MutationCtx,
    internal_action,
    internal_mutation,
    json_response,
    read_json,
)
from flask_convex_http.functions.function import Function
from tests.worker.runs import SCHEMA, Note, notes


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a client wants to be run: a mutation, or an action that takes some seconds."""

    text: str
    delay: float = 0
    takes: float | None = None


@internal_mutation
def write(ctx: MutationCtx, *, text: str) -> None:
    ctx.db.insert(Note(text=f"{text} {os.getpid()}"))


@internal_mutation
def write_lateness(ctx: MutationCtx, *, due: float) -> None:
    """Write down how many milliseconds after its time this has begun."""
    ctx.db.insert(Note(text=str(time.time() * 1000 - due)))


@internal_action
def take_time(ctx: ActionCtx, *, text: str, takes: float) -> None:
    ctx.run_mutation(write, text=f"{text} begun")
    time.sleep(takes)
    ctx.run_mutation(write, text=f"{text} ended")


http = HttpRouter("http", __name__)
functions: list[Function[Any, Any]] = [write, write_lateness, take_time, notes]


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> Response:
    return json_response({"ok": True})


@http.post("/orders")
def order(ctx: ActionCtx, request: Request) -> Response:
    wanted = read_json(request, Order)
    if wanted.takes is None:
        job = ctx.scheduler.run_after(wanted.delay, write, text=wanted.text)
    else:
        job = ctx.scheduler.run_after(wanted.delay, take_time, text=wanted.text, takes=wanted.takes)
    return json_response({"id": job}, 201)


@http.post("/lateness/<float:delay>")
def order_lateness(ctx: ActionCtx, request: Request, delay: float) -> Response:
    due = time.time() * 1000 + delay * 1000
    ctx.scheduler.run_after(delay, write_lateness, due=due)
    return json_response({}, 201)


def create_app() -> Flask:
    """The app, as FLASK_CONVEX_ variables of the environment say."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    return app
