"""A shop whose orders come by webhooks, for tests of what is done with deliveries afterwards.

/shop       its handler runs before the sender is answered
/stock      a worker runs its handler; one after the other for each item
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
from flask_convex_http.inbox.replay import Replays
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.testing import Clock, Responses, deliver, run_scheduled
from flask_convex_http.webhooks import HmacSignature
from tests.cli.outcomes import Outcome
from tests.databases import folder_config

VARIABLE = "ORDERS_WEBHOOK_SECRET"
SECRET, NEW_SECRET = "the secret in use", "the secret that comes after it"
#: How a worker tries again.
RETRY = Retry(max_attempts=2, backoff=timedelta(hours=1))


class Order(Document, table="orders", indexes={"by_number": ["number"]}):
    """What a delivery has done."""

    number: str
    total: int
    tags: list[str] = []
    is_paid: bool = False


@internal_mutation
def remind(ctx: MutationCtx, *, number: str) -> None:
    """What is scheduled for later."""


@internal_action
def store(ctx: ActionCtx) -> str:
    """Store a file."""
    return ctx.storage.store(b"a receipt")


@internal_mutation
def add_order(ctx: MutationCtx, *, number: str, total: int) -> None:
    """A part of a handler."""
    ctx.db.insert(Order(number=number, total=total))


@internal_query
def numbers(ctx: QueryCtx) -> list[str]:
    """The numbers of all orders, in order."""
    return [order.number for order in ctx.db.query(Order).order("asc").collect()]


@dataclass
class Troubles:
    """What the handlers do with each type; a test may set it.

    Attributes:
        error: What they raise, after they have written.
        runs: The ids of the events that they were run with.
    """

    error: BaseException | None = None
    runs: list[str] = field(default_factory=list)


def make_router(troubles: Troubles) -> HttpRouter:
    """The webhooks."""
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
        troubles.runs.append(event.id)
        _EFFECTS.get(event.type, order_placed)(ctx, event.payload)
        if troubles.error is not None:
            raise troubles.error

    return router


def order_placed(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """One row."""
    ctx.db.insert(Order(number=payload["id"], total=payload.get("total", 1)))


def order_settled(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """All that a handler can do to the database."""
    for order in ctx.db.query(Order).with_index("by_number", number=payload["paid"]).collect():
        ctx.db.patch(order.id, is_paid=True, tags=["settled"])
    for order in ctx.db.query(Order).with_index("by_number", number=payload["gone"]).collect():
        ctx.db.delete(order.id)
    ctx.run_mutation(add_order, number=payload["id"], total=7)
    ctx.scheduler.run_after(60, remind, number=payload["id"])
    ctx.scheduler.cancel(payload["job"])
    ctx.storage.delete(payload["file"])


def order_doubtful(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """What is written and taken back."""
    try:
        ctx.run_mutation(add_order, number="doubtful", total=2**70)
    except Exception:
        ctx.db.delete(ctx.db.insert(Order(number="brief", total=1)))


def order_followed(ctx: MutationCtx, payload: dict[str, Any]) -> None:
    """Something that is to run at once."""
    ctx.scheduler.run_after(0, remind, number=payload["id"])


_EFFECTS = {"order.settled": order_settled, "order.doubtful": order_doubtful, "order.followed": order_followed}


@dataclass(frozen=True)
class Shop:
    """The app, and what is asked of it."""

    app: Flask
    clock: Clock
    troubles: Troubles

    @property
    def backend(self) -> Backend:
        backend: Backend = self.app.extensions["convex_http"]
        return backend

    @property
    def replays(self) -> Replays:
        return Replays(self.backend.inbox)

    def convex(self, *arguments: str, stdin: str = "") -> Outcome:
        """Run `flask convex ...`."""
        result = self.app.test_cli_runner().invoke(args=["convex", *arguments], input=stdin)
        exception = None if isinstance(result.exception, SystemExit) else result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, exception)

    def send(self, event_id: str, source: str = "shop", type: str = "order.placed", **more: Any) -> Responses:
        """A signed delivery."""
        self.app.testing = False  # what a handler raises is to be answered, not to come out here
        return deliver(self.app.test_client(), source, {"id": event_id, "type": type, **more}, event_id=event_id)

    def delivery(self, event_id: str, source: str = "shop") -> WebhookDelivery:
        """A delivery as it is now."""
        with self.backend.engine.snapshot() as snapshot:
            (found,) = self.backend.inbox.deliveries.by_event_id(snapshot, event_id, [source])
        return found

    def received(self, event_id: str, source: str = "shop", **more: Any) -> str:
        """Send a delivery, and answer our id of it."""
        self.send(event_id, source, **more)
        return self.delivery(event_id, source).id

    def fail(self, event_id: str, source: str = "shop", error: BaseException | None = None, **more: Any) -> str:
        """A delivery whose handler has failed; then it is mended."""
        self.troubles.error = error or ValueError("The lamp is out")
        delivery_id = self.received(event_id, source, **more)
        if source == "stock":
            run_scheduled(self.backend)
        self.troubles.error = None
        return delivery_id

    def job(self, event_id: str) -> ScheduledFunction:
        """The scheduled function of a delivery to /stock."""
        job_id = self.delivery(event_id, "stock").job
        assert job_id is not None
        with self.backend.engine.snapshot() as snapshot:
            job = self.backend.jobs.get(snapshot, job_id)
        assert job is not None
        return job

    def numbers(self) -> list[str]:
        """The numbers of all orders."""
        return self.backend.ctx().run_query(numbers)

    def orders(self) -> list[Order]:
        """All orders."""
        with self.backend.engine.snapshot() as snapshot:
            return DatabaseReader(snapshot, self.backend.schema).query(Order).collect()


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    """The app on a database in a folder, on a clock that stands still; its secret is in the variable."""
    app = Flask("orders", instance_path=str(folder))
    app.config.from_mapping({"TESTING": True, "CONVEX_WORKER": "off"} | folder_config(folder))
    clock, troubles = Clock(), Troubles()
    functions: Functions = [remind, store, add_order, numbers]
    ConvexHTTP(app, schema=Schema(Order), functions=functions, clock=clock)
    app.register_blueprint(make_router(troubles))
    made = Shop(app, clock, troubles)
    try:
        made.backend.migrate()
        yield made
    finally:
        made.backend.close()


def dead() -> DeadLetterError:
    """What gives a delivery up."""
    return DeadLetterError("Nobody sells that")


def listed(shop: Shop, *options: str) -> list[str]:
    """The senders' ids that a list has, in its order."""
    return [delivery["event_id"] for delivery in shop.convex("webhooks", "list", *options, "--json").json]
