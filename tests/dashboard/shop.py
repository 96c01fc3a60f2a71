"""The app whose dashboard is tested: tables with references, functions of each kind, a webhook and a cron."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Crons,
    Document,
    HmacSignature,
    HttpRouter,
    Id,
    MutationCtx,
    QueryCtx,
    Schema,
    StoredFile,
    WebhookEvent,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
    unique,
)
from flask_convex_http.backend import Backend
from tests.databases import folder_config, temporary_config

SECRET = "a secret of the shop, long enough"


class Customer(Document, table="customers", indexes={"by_email": unique("email"), "by_name": ["name"]}):
    """A customer of the shop."""

    email: str
    name: str
    note: str | None = None


class Order(Document, table="orders", indexes={"by_customer": ["customer", "amount"], "by_paid": ["is_paid"]}):
    """An order of a customer."""

    customer: Id[Customer]
    amount: int
    price: float = 1.5
    is_paid: bool = False
    tags: list[str] = []
    due: datetime | None = None
    label: bytes = b""
    invoice: Id[StoredFile] | None = None


SCHEMA = Schema(Customer, Order)


@query
def list_orders(ctx: QueryCtx, *, limit: int = 10) -> list[Order]:
    """Return the newest orders."""
    return ctx.db.query(Order).order("desc").take(limit)


@mutation
def add_customer(ctx: MutationCtx, *, email: str, name: str) -> Id[Customer]:
    """Add a customer."""
    return ctx.db.insert(Customer(email=email, name=name))


@internal_mutation
def add_order(ctx: MutationCtx, *, customer: Id[Customer], amount: int) -> Id[Order]:
    """Add an order of a customer."""
    return ctx.db.insert(Order(customer=customer, amount=amount))


@internal_mutation
def add_customers(ctx: MutationCtx, *, count: int) -> list[Id[Customer]]:
    """Add customers in one transaction."""
    return [ctx.db.insert(Customer(email=f"{number}@many.example", name=f"{number}")) for number in range(count)]


@internal_mutation
def rename(ctx: MutationCtx, *, customer: Id[Customer], name: str) -> None:
    """Rename a customer."""
    ctx.db.patch(customer, name=name)


@internal_mutation
def fail(ctx: MutationCtx, *, text: str = "No more lamps") -> None:
    """Fail in any case."""
    raise ConvexError(text)


@action
def greet(ctx: ActionCtx, *, name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}"


@internal_query
def list_customers(ctx: QueryCtx) -> list[Customer]:
    """Return all customers."""
    return ctx.db.query(Customer).collect()


@internal_mutation
def remove_customer(ctx: MutationCtx, *, customer: Id[Customer]) -> None:
    """Remove a customer."""
    ctx.db.delete(customer)


FUNCTIONS = (list_customers, remove_customer, list_orders, add_customer, add_customers, add_order, rename, fail, greet)

crons = Crons()
crons.interval("sweep", timedelta(hours=1), add_customer, email="cron@shop.example", name="Cron")

http = HttpRouter("shop", __name__)


@http.webhook("/hook", HmacSignature(secret=SECRET, header="X-Signature", id_field="id", type_field="type"))
def hook(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Add the customer of an event."""
    ctx.run_mutation(add_customer, email=f"{event.id}@shop.example", name="From a webhook")


@contextmanager
def opened(folder: Path, *, is_kept: bool = False, **config: Any) -> Iterator[Flask]:
    """Yield the migrated app. `is_kept` puts its database into the folder, where other processes find it."""
    with ExitStack() as stack:
        database = folder_config(folder) if is_kept else stack.enter_context(temporary_config(SCHEMA))
        app = make_app(folder, **(database | {"CONVEX_WORKER": "off"} | config))
        stack.callback(backend_of(app).close)
        backend_of(app).migrate()
        yield app


def make_app(folder: Path, **config: Any) -> Flask:
    """Return the app."""
    app = Flask("shop", instance_path=str(folder))
    app.config.update(config)
    ConvexHTTP(app, schema=SCHEMA, functions=FUNCTIONS, crons=crons, dashboard=True)
    app.register_blueprint(http)
    return app


def backend_of(app: Flask) -> Backend:
    """Return the backend of the app."""
    backend: Backend = app.extensions["convex_http"]
    return backend
