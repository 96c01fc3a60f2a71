"""The ledger as an app for gunicorn: `create_app()`, with its folder in LEDGER_FOLDER."""

import os
from pathlib import Path

import msgspec
from flask import Flask, Request, Response

from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, error_response, json_response, read_json
from tests.crash.ledger import configuration, functions, increment, is_torn, post, schema


class Posting(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a posting."""

    key: str
    account: str
    amount: int
    note: str = ""
    refused: bool = False
    has_receipt: bool = False


def create_app(folder: Path | None = None) -> Flask:
    """Return the app, whose folder must be migrated."""
    folder = Path(os.environ["LEDGER_FOLDER"]) if folder is None else folder
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(configuration(folder), CONVEX_WORKER="off")
    app.config.from_prefixed_env()  # FLASK_CONVEX_DURABILITY, for example
    ConvexHTTP(app, schema=schema, functions=functions)
    app.register_blueprint(_router())
    return app


def _router() -> HttpRouter:
    http = HttpRouter("ledger", __name__)

    @http.post("/entries")
    def add_entry(ctx: ActionCtx, request: Request) -> Response:
        posting = read_json(request, Posting)
        receipt = ctx.storage.store(posting.key.encode()) if posting.has_receipt else None
        entry = ctx.run_mutation(
            post,
            key=posting.key,
            account=posting.account,
            amount=posting.amount,
            note=posting.note,
            receipt=receipt,
            refused=posting.refused,
        )
        return json_response({"id": entry}, 201)

    @http.get("/accounts/<name>")
    def check_account(ctx: ActionCtx, request: Request, name: str) -> Response:
        if ctx.run_query(is_torn, account=name):
            return error_response(f"The account {name} is torn", 500)
        return json_response({"name": name})

    @http.post("/counters/<name>")
    def add_one(ctx: ActionCtx, request: Request, name: str) -> Response:
        return json_response({"total": ctx.run_mutation(increment, account=name)})

    return http
