"""An app whose requests schedule jobs, for servers. Its functions record which process ran them."""

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
from tests.worker.workers import SCHEMA, Note, notes


class JobRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The job that a request asks for: a mutation, or an action that takes some seconds."""

    text: str
    delay: float = 0
    takes: float | None = None


@internal_mutation
def write(ctx: MutationCtx, *, text: str) -> None:
    """Insert a note with the id of this process."""
    ctx.db.insert(Note(text=f"{text} {os.getpid()}"))


@internal_mutation
def write_lateness(ctx: MutationCtx, *, due: float) -> None:
    """Insert the milliseconds between the due time and the start of this function."""
    ctx.db.insert(Note(text=str(time.time() * 1000 - due)))


@internal_action
def take_time(ctx: ActionCtx, *, text: str, takes: float) -> None:
    """Insert a note at the begin and at the end of some seconds."""
    ctx.run_mutation(write, text=f"{text} begun")
    time.sleep(takes)
    ctx.run_mutation(write, text=f"{text} ended")


http = HttpRouter("http", __name__)
functions: list[Function[Any, Any]] = [write, write_lateness, take_time, notes]


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> Response:
    return json_response({"ok": True})


@http.post("/jobs")
def schedule_job(ctx: ActionCtx, request: Request) -> Response:
    wanted = read_json(request, JobRequest)
    if wanted.takes is None:
        job = ctx.scheduler.run_after(wanted.delay, write, text=wanted.text)
    else:
        job = ctx.scheduler.run_after(wanted.delay, take_time, text=wanted.text, takes=wanted.takes)
    return json_response({"id": job}, 201)


@http.post("/lateness/<float:delay>")
def schedule_lateness(ctx: ActionCtx, request: Request, delay: float) -> Response:
    due = time.time() * 1000 + delay * 1000
    ctx.scheduler.run_after(delay, write_lateness, due=due)
    return json_response({}, 201)


def create_app() -> Flask:
    """Return the app, configured by the FLASK_CONVEX_ variables of the environment."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    return app
