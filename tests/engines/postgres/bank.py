"""A bank whose tables show lost, duplicate and partial effects. `create_app()` makes it for servers.

A client chooses the key of a payment, so it can send the payment again when it does not know whether it was made.
BANK_FOLDER is the folder for files. The settings name the database.
"""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Request, current_app

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    Crons,
    Document,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Retry,
    Schema,
    internal_action,
    internal_mutation,
    internal_query,
    read_json,
    require_api_key,
    unique,
)
from flask_convex_http.backend import Functions

#: Seconds between two ticks of the cron, and seconds after which the actions of a dead machine count as lost.
INTERVAL, LEASE = 1.0, 2.0
#: How many tokens a bucket has. It is refilled so slowly that no token comes back during a test.
TOKENS = 20


class Payment(
    Document, table="payments", indexes={"by_key": unique("key"), "by_account": unique("account", "balance")}
):
    """A payment. `balance` is the balance of the account after it."""

    key: str
    account: str
    balance: int


class Account(Document, table="accounts", indexes={"by_name": unique("name")}):
    name: str
    balance: int


class Receipt(Document, table="receipts", indexes={"by_key": ["key"]}):
    """The effect of the job that a payment schedules. A duplicate shows."""

    key: str
    process: int


class Tick(Document, table="ticks"):
    process: int


class Parcel(Document, table="parcels", indexes={"by_key": ["key"]}):
    """The effect of one attempt of an action."""

    key: str
    attempt: int
    process: int


SCHEMA = Schema(Payment, Account, Receipt, Tick, Parcel)


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /payments."""

    key: str
    account: str


@internal_mutation
def pay(ctx: MutationCtx, *, key: str, account: str) -> int:
    """Pay 1 into an account, which writes three rows and schedules a job."""
    found = ctx.db.query(Account).with_index("by_name", name=account).unique()
    balance = 1 if found is None else found.balance + 1
    if found is None:
        ctx.db.insert(Account(name=account, balance=balance))
    else:
        ctx.db.patch(found.id, balance=balance)
    ctx.db.insert(Payment(key=key, account=account, balance=balance))
    ctx.scheduler.run_after(0, issue_receipt, key=key)
    return balance


@internal_mutation
def issue_receipt(ctx: MutationCtx, *, key: str) -> None:
    ctx.db.insert(Receipt(key=key, process=os.getpid()))


@internal_mutation
def tick(ctx: MutationCtx) -> None:
    ctx.db.insert(Tick(process=os.getpid()))


@internal_query
def is_torn(ctx: QueryCtx, *, account: str) -> bool:
    """Return whether an account and its payments disagree. In one snapshot they never do."""
    found = ctx.db.query(Account).with_index("by_name", name=account).unique()
    last = ctx.db.query(Payment).with_index("by_account", account=account).order("desc").first()
    return (0 if found is None else found.balance) != (0 if last is None else last.balance)


@internal_mutation
def note_parcel(ctx: MutationCtx, *, key: str, attempt: int) -> None:
    ctx.db.insert(Parcel(key=key, attempt=attempt, process=os.getpid()))


@internal_action(retry=Retry(max_attempts=5, backoff=0))
def send_parcel(ctx: ActionCtx, *, key: str, takes: float) -> None:
    """Send a parcel. The first attempt takes some seconds."""
    ctx.run_mutation(note_parcel, key=f"{key} begun", attempt=ctx.attempt)
    time.sleep(takes if ctx.attempt == 1 else 0)
    ctx.run_mutation(note_parcel, key=f"{key} sent", attempt=ctx.attempt)


http = HttpRouter("bank", __name__)
functions: Functions = [pay, issue_receipt, tick, is_torn, note_parcel, send_parcel]
crons = Crons()
crons.interval("tick", INTERVAL, tick)


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    return {"status": "ok"}


@http.post("/payments")
def make_payment(ctx: ActionCtx, request: Request) -> dict[str, int]:
    order = read_json(request, Order)
    return {"balance": ctx.run_mutation(pay, key=order.key, account=order.account)}


@http.get("/accounts/<name>")
def get_account(ctx: ActionCtx, request: Request, name: str) -> dict[str, bool]:
    return {"torn": ctx.run_query(is_torn, account=name)}


@http.post("/parcels/<key>")
def order_parcel(ctx: ActionCtx, request: Request, key: str) -> dict[str, str]:
    return {"job": ctx.scheduler.run_after(0, send_parcel, key=key, takes=float(request.args["takes"]))}


@http.post("/tokens/<key>")
def take_token(ctx: ActionCtx, request: Request, key: str) -> dict[str, bool]:
    ctx.rate_limit("tokens", key=key, rate=TOKENS, period=86_400 * 365, capacity=TOKENS)
    return {"taken": True}


@http.get("/vault")
@require_api_key()
def open_vault(ctx: ActionCtx, request: Request) -> dict[str, bool]:
    return {"open": True}


@http.post("/keys/<name>")
def make_key(ctx: ActionCtx, request: Request, name: str) -> dict[str, str]:
    keys = current_app.extensions["convex_http"].api_keys
    key, stored = keys.create(name=name)
    return {"key": key, "id": stored.id}


@http.delete("/keys/<key_id>")
def revoke_key(ctx: ActionCtx, request: Request, key_id: str) -> dict[str, bool]:
    current_app.extensions["convex_http"].api_keys.revoke(key_id)
    return {"revoked": True}


def create_app(folder: Path | None = None, **config: Any) -> Flask:
    """Create the app.

    Args:
        folder: The folder for files. BANK_FOLDER by default.
        config: More settings. Those in the environment take precedence.
    """
    app = Flask(__name__, instance_path=str(folder or Path(os.environ["BANK_FOLDER"])))
    app.config.update(CONVEX_WORKER_LEASE=LEASE, **config)
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=SCHEMA, functions=functions, crons=crons)
    app.register_blueprint(http)
    return app
