"""A shop whose payments are idempotent requests: `create_app()`, for servers and for the test client.

No table rejects a second payment, and each is counted as well, so a repeated one is visible. SHOP_FOLDER is the folder
of the database and of a file with all runs of the handler, rolled back ones included.
"""

import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Request, Response

from flask_convex_http import ConvexError, ConvexHTTP, Document, HttpRouter, MutationCtx, Schema, internal_mutation
from tests.databases import folder_config

#: The response of a handler that fails on purpose. Every other error is a fault.
FLAKY = 502


class NewPayment(msgspec.Struct, frozen=True):
    """The body of a request.

    Attributes:
        key: The key of the request, so that its payment can be found.
        takes: Seconds that the handler takes.
        risk: The probability that a run fails.
    """

    key: str
    takes: float = 0.0
    risk: float = 0.0


class Payment(Document, table="payments"):
    """A payment. `receipt` is a random text, which the response has too."""

    key: str
    receipt: str


class FollowUp(Document, table="follow_ups"):
    """A record of a scheduled function."""

    key: str


class Total(Document, table="totals"):
    """The number of payments."""

    payments: int


@internal_mutation
def follow_up(ctx: MutationCtx, *, key: str) -> None:
    ctx.db.insert(FollowUp(key=key))


http = HttpRouter("shop", __name__)


@http.post("/payments", status=201, idempotent=True)
def pay(ctx: MutationCtx, request: Request, body: NewPayment) -> Response:
    """Store a payment, count it and schedule its follow-up. A failing run fails after that."""
    receipt = secrets.token_hex(16)
    ctx.db.insert(Payment(key=body.key, receipt=receipt))
    total = ctx.db.query(Total).first()
    if total is None:
        ctx.db.insert(Total(payments=1))
    else:
        ctx.db.patch(total.id, payments=total.payments + 1)
    ctx.scheduler.run_after(0, follow_up, key=body.key)
    with Path(os.environ["SHOP_FOLDER"], "runs").open("a") as file:
        file.write(f"{body.key}\n")
    time.sleep(body.takes)
    if random.random() < body.risk:
        if random.random() < 0.5:
            raise ConvexError("Failed on purpose", status=FLAKY)
        return Response("Failed on purpose", FLAKY)
    return Response(receipt, 201, {"X-Receipt": receipt})


def create_app(folder: Path | None = None, **config: Any) -> Flask:
    """Return the app.

    Args:
        folder: The folder of the database, by default SHOP_FOLDER.
        config: Further settings. Those of the environment win.
    """
    folder = Path(os.environ["SHOP_FOLDER"]) if folder is None else folder
    app = Flask(__name__, instance_path=str(folder))
    urls = {"CONVEX_DATABASE_URL": f"sqlite:///{folder / 'convex.db'}", "CONVEX_WORKER_LEASE": 2.0}
    app.config.update({**urls, **folder_config(folder), **config})
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=Schema(Payment, FollowUp, Total), functions=[follow_up])
    app.register_blueprint(http)
    return app
