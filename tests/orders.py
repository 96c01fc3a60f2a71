"""A shop that receives orders by webhook, for tests of listing, replaying and searching deliveries.

/shop       the handler runs before the response
/stock      a worker runs the handler, in order of each item
/partner    signed in the Authorization header
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http import (
    ActionCtx,
    ConvexHTTP,
    DeadLetterError,
    Document,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Retry,
    Schema,
    WebhookEvent,
    from_env,
    internal_action,
    internal_mutation,
    internal_query,
)
from flask_convex_http.backend import Backend, Functions
from flask_convex_http.database.db import DatabaseReader
from flask_convex_http.inbox.purges import Purges
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.testing import Clock, Responses, deliver, run_scheduled
from flask_convex_http.webhooks import HmacSignature
from tests.cli.outcomes import Outcome
from tests.databases import folder_config

VARIABLE = "ORDERS_WEBHOOK_SECRET"
SECRET, NEW_SECRET = "the secret in use", "the secret that comes after it"
#: The worker's retries.
RETRY = Retry(max_attempts=2, backoff=timedelta(hours=1))


class Order(Document, table="orders", indexes={"by_number": ["number"]}):
    """An order that a handler inserts."""

    number: str
    total: int
    tags: list[str] = []
    is_paid: bool = False


@internal_mutation
def remind(ctx: MutationCtx, *, number: str) -> None:
    """Do nothing; a job for later."""


@internal_action
def store(ctx: ActionCtx) -> str:
    """Store a file."""
    return ctx.storage.store(b"a receipt")


@internal_mutation
def add_order(ctx: MutationCtx, *, number: str, total: int) -> None:
    """Insert an order, in a nested mutation of a handler."""
    ctx.db.insert(Order(number=number, total=total))


@internal_query
def numbers(ctx: QueryCtx) -> list[str]:
    """Return the numbers of all orders, oldest first."""
    return [order.number for order in ctx.db.query(Order).order("asc").collect()]


@dataclass
class Faults:
    """Faults of the handlers, which a test may set.

    Attributes:
        error: An error that the handlers raise after their writes, or None.
        runs: The event ids of all runs of a handler.
    """

    error: BaseException | None = None
    runs: list[str] = field(default_factory=list)


def make_router(faults: Faults) -> HttpRouter:
    """Return a router with the webhooks."""
    router = HttpRouter("orders", __name__)
    secret = from_env(VARIABLE)
    shop = HmacSignature(
        secret=secret,
        header="X-Signature",
        timestamp_header="X-Time",
        signed="{timestamp}.{body}",
        id_field="id",
        type_field="type",
    )
    partner = HmacSignature(secret=secret, header="Authorization", id_field="id", type_field="type")

    @router.webhook("/shop", shop, source="shop")
    def on_shop(ctx: MutationCtx, event: WebhookEvent) -> str:
        handle(ctx, event)
        return f"taken: {event.id}"

    @router.webhook("/stock", shop, source="stock", mode="enqueue", order_by="item", retry=RETRY)
    def on_stock(ctx: MutationCtx, event: WebhookEvent) -> None:
        handle(ctx, event)

    @router.webhook("/partner", partner, source="partner")
    def on_partner(ctx: MutationCtx, event: WebhookEvent) -> None:
        handle(ctx, event)

    def handle(ctx: MutationCtx, event: WebhookEvent) -> None:
        faults.runs.append(event.id)
        _EFFECTS.get(event.type, order_placed)(ctx, event.payload)
        if faults.error is not None:
            raise faults.error

    return router


def order_placed(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """Insert one order."""
    ctx.db.insert(Order(number=payload["id"], total=payload.get("total", 1)))


def order_settled(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """Use every operation that a handler has on the database, jobs and files."""
    for order in ctx.db.query(Order).with_index("by_number", number=payload["paid"]).collect():
        ctx.db.patch(order.id, is_paid=True, tags=["settled"])
    for order in ctx.db.query(Order).with_index("by_number", number=payload["gone"]).collect():
        ctx.db.delete(order.id)
    ctx.run_mutation(add_order, number=payload["id"], total=7)
    ctx.scheduler.run_after(60, remind, number=payload["id"])
    ctx.scheduler.cancel(payload["job"])
    ctx.storage.delete(payload["file"])


def order_doubtful(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """Write and roll back, and write and delete."""
    try:
        ctx.run_mutation(add_order, number="doubtful", total=2**70)
    except Exception:
        ctx.db.delete(ctx.db.insert(Order(number="brief", total=1)))


def order_followed(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """Schedule a job that is due at once."""
    ctx.scheduler.run_after(0, remind, number=payload["id"])


_EFFECTS = {"order.settled": order_settled, "order.doubtful": order_doubtful, "order.followed": order_followed}


@dataclass(frozen=True)
class Shop:
    """The app, with helpers that deliver to it and read from it."""

    app: Flask
    clock: Clock
    faults: Faults

    @property
    def backend(self) -> Backend:
        backend: Backend = self.app.extensions["convex_http"]
        return backend

    @property
    def replays(self) -> Replays:
        return Replays(self.backend.inbox)

    @property
    def purges(self) -> Purges:
        """The purges of its deliveries."""
        return Purges(self.backend.inbox)

    def convex(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run `flask convex ...`."""
        result = self.app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    def send(self, event_id: str, source: str = "shop", type: str = "order.placed", **more: Any) -> Responses:
        """Send a signed delivery."""
        self.app.testing = False  # so that a handler's error becomes a response instead of leaving the client
        return deliver(self.app.test_client(), source, {"id": event_id, "type": type, **more}, event_id=event_id)

    def delivery(self, event_id: str, source: str = "shop") -> WebhookDelivery:
        """Return the current row of a delivery."""
        with self.backend.engine.snapshot() as snapshot:
            (found,) = self.backend.inbox.deliveries.by_event_id(snapshot, event_id, [source])
        return found

    def receive(self, event_id: str, source: str = "shop", **more: Any) -> str:
        """Send a delivery and return the id of its row."""
        self.send(event_id, source, **more)
        return self.delivery(event_id, source).id

    def fail(self, event_id: str, source: str = "shop", error: BaseException | None = None, **more: Any) -> str:
        """Send a delivery whose handler fails, fix the handler, and return the id of the delivery's row."""
        self.faults.error = error or ValueError("The lamp is out")
        delivery_id = self.receive(event_id, source, **more)
        if source == "stock":
            run_scheduled(self.backend)
        self.faults.error = None
        return delivery_id

    def job(self, event_id: str) -> ScheduledFunction:
        """Return the job of a delivery to /stock."""
        job_id = self.delivery(event_id, "stock").job
        assert job_id is not None
        with self.backend.engine.snapshot() as snapshot:
            job = self.backend.jobs.get(snapshot, job_id)
        assert job is not None
        return job

    def numbers(self) -> list[str]:
        """Return the numbers of all orders, oldest first."""
        return self.backend.ctx().run_query(numbers)

    def orders(self) -> list[Order]:
        """Return all orders."""
        with self.backend.engine.snapshot() as snapshot:
            return (
                DatabaseReader(snapshot, self.backend.schema, (self.backend.runtime.cursors, "")).query(Order).collect()
            )


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    """Yield the app on a database in a folder, with a clock that stands still and the secret in its variable."""
    app = Flask("orders", instance_path=str(folder))
    app.config.from_mapping({"TESTING": True, "CONVEX_WORKER": "off"} | folder_config(folder))
    clock, faults = Clock(), Faults()
    functions: Functions = [remind, store, add_order, numbers]
    ConvexHTTP(app, schema=Schema(Order), functions=functions, clock=clock)
    app.register_blueprint(make_router(faults))
    running = Shop(app, clock, faults)
    try:
        running.backend.migrate()
        yield running
    finally:
        running.backend.close()


def dead_letter_error() -> DeadLetterError:
    """Return an error that dead-letters a delivery."""
    return DeadLetterError("Nobody sells that")


def list_event_ids(shop: Shop, *options: str) -> list[str]:
    """Return the senders' event ids in the order of `webhooks list`."""
    return [delivery["event_id"] for delivery in shop.convex("webhooks", "list", *options, "--json").json]
