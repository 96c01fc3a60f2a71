"""A shop with webhooks: `create_app()`, for servers and for the test client.

No table rejects a second effect, and each effect is counted as well, so a repeated one is visible. SHOP_FOLDER is the
folder of the database and of a file with all runs, rolled back ones included.
"""

import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask, Request, Response, current_app

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Document,
    GitHub,
    HttpRouter,
    MutationCtx,
    Retry,
    Schema,
    Slack,
    Stripe,
    Svix,
    WebhookEvent,
    internal_mutation,
    unique,
)
from flask_convex_http.backend import Functions
from tests.databases import folder_config
from tests.example.deliveries import CLERK_SECRET, GITHUB_SECRET, STRIPE_SECRET
from tests.webhooks.senders import SECRET as SLACK_SECRET

#: The response of a handler that fails on purpose. Every other error is a fault.
FLAKY, DECLINED = 502, 504
DATABASE, FILES = "convex.db", "files.db"
#: Seconds after which a killed worker counts as dead.
LEASE = 2.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of an event, with instructions for its handler.

    Attributes:
        customer: The customer of the event.
        number: Its number among the events of the customer, from 0.
        takes: Seconds that the handler takes.
        fails: The number of runs that fail.
        risk: The probability that each further run fails.
        ticket: Whether the response contains a random text.
    """

    customer: str
    number: int
    takes: float = 0.0
    fails: int = 0
    risk: float = 0.0
    ticket: bool = False


class Effect(Document, table="effects", indexes={"by_customer": ["customer"]}):
    """The effect of a handler. `after` is the number of the customer's previous effect."""

    event: str
    customer: str
    number: int
    after: int
    process: int


class FollowUp(Document, table="follow_ups"):
    """A record of a scheduled function."""

    event: str


class Counter(Document, table="counters", indexes={"by_name": ["name"]}):
    """The number of effects of a kind."""

    name: str
    total: int


class State(Document, table="states", indexes={"by_customer": unique("customer")}):
    """The newest state of a customer."""

    customer: str
    number: int


SCHEMA = Schema(Effect, FollowUp, Counter, State)


@internal_mutation
def follow_up(ctx: MutationCtx, *, event: str) -> None:
    ctx.db.insert(FollowUp(event=event))
    count(ctx, "follow-ups")


def count(ctx: MutationCtx, name: str) -> None:
    """Increment a counter."""
    counter = ctx.db.query(Counter).with_index("by_name", name=name).first()
    if counter is None:
        ctx.db.insert(Counter(name=name, total=1))
    else:
        ctx.db.patch(counter.id, total=counter.total + 1)


def apply(ctx: MutationCtx, event: WebhookEvent, body: Any) -> Response | None:
    """Apply all effects of an event. A failing run fails after them."""
    change = msgspec.convert(body, Change)
    last = ctx.db.query(Effect).with_index("by_customer", customer=change.customer).order("desc").first()
    effect = Effect(
        event=event.id,
        customer=change.customer,
        number=change.number,
        after=-1 if last is None else last.number,
        process=os.getpid(),
    )
    ctx.db.insert(effect)
    count(ctx, "effects")
    ctx.db.apply_if_newer(State(customer=change.customer, number=change.number), by="by_customer", version="number")
    ctx.scheduler.run_after(0, follow_up, event=event.id)
    run = note_run(event.id)
    time.sleep(change.takes)
    return _outcome(change, run)


def _outcome(change: Change, run: int) -> Response | None:
    """Return the response, or fail in one of two ways if this run fails."""
    if run <= change.fails or random.random() < change.risk:
        if run % 2:
            raise ConvexError("Failed on purpose", status=FLAKY)
        return Response("Declined on purpose", DECLINED)
    if change.ticket:
        ticket = secrets.token_hex(16)
        return Response(ticket, 201, {"X-Ticket": ticket})
    return None


def note_run(event_id: str) -> int:
    """Record the run of a handler outside any transaction, and return its number among the runs of the event."""
    path = Path(current_app.instance_path, "runs")
    with path.open("a") as file:
        file.write(f"{event_id} {os.getpid()}\n")
    return sum(line.split()[0] == event_id for line in path.read_text().splitlines())


http = HttpRouter("shop", __name__)
functions: Functions = [follow_up]


@http.get("/health")
def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    return {"status": "ok"}


@http.webhook("/webhooks/stripe", Stripe(secret=STRIPE_SECRET))
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    return apply(ctx, event, event.data["object"])


@http.webhook("/webhooks/svix", Svix(secret=CLERK_SECRET))
def on_svix(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    return apply(ctx, event, event.data)


@http.webhook("/webhooks/github", GitHub(secret=GITHUB_SECRET))
def on_github(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    return apply(ctx, event, event.data)


@http.webhook("/webhooks/slack", Slack(secret=SLACK_SECRET))
def on_slack(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    return apply(ctx, event, event.data["change"])


@http.webhook(
    "/webhooks/queued",
    Stripe(secret=STRIPE_SECRET),
    mode="enqueue",
    retry=Retry(max_attempts=100, backoff=0.01, max_backoff=0.05),
    order_by="data.object.customer",
)
def on_queued(ctx: MutationCtx, event: WebhookEvent) -> Response | None:
    return apply(ctx, event, event.data["object"])


def create_app(folder: Path | None = None, **config: Any) -> Flask:
    """Return the app.

    Args:
        folder: The folder of the database, by default SHOP_FOLDER.
        config: Further settings. Those of the environment win.
    """
    folder = Path(os.environ["SHOP_FOLDER"]) if folder is None else folder
    app = Flask(__name__, instance_path=str(folder))
    urls = {
        "CONVEX_DATABASE_URL": f"sqlite:///{folder / DATABASE}",
        "CONVEX_STORAGE_URL": f"sqlite:///{folder / FILES}",
    }
    app.config.update({**urls, **folder_config(folder), "CONVEX_WORKER_LEASE": LEASE, **config})
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    return app
