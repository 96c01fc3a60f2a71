"""A small app with metrics, and helpers that read them as Prometheus does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Request
from prometheus_client.parser import text_string_to_metric_families

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    ConvexHTTP,
    Document,
    GitHub,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    action,
    mutation,
    per_tenant,
    query,
)
from tests.web.apps import deployed

TOKEN = "metrics-token-of-32-characters-or-more"
PATH = "/_convex/metrics"
SECRET = "s" * 32


class Order(Document, table="orders"):
    """An order."""

    text: str


@query
def secret_of(ctx: QueryCtx, *, shop: str) -> str | None:
    """Return the webhook secret of a shop."""
    return SECRET if shop.startswith("shop-") else None


@mutation
def place(ctx: MutationCtx, *, text: str) -> None:
    """Place an order."""
    if not text.strip():
        raise ConvexError("An order has a text")
    ctx.db.insert(Order(text=text))


@mutation
def place_later(ctx: MutationCtx, *, seconds: float = 0, text: str = "later") -> None:
    """Place an order in a job."""
    ctx.scheduler.run_after(seconds, place, text=text)


@action
def ship(ctx: ActionCtx) -> None:
    """Place an order from an action."""
    ctx.run_mutation(place, text="shipped")


FUNCTIONS: list[Any] = [secret_of, place, place_later, ship]


def router() -> HttpRouter:
    """Return the routes and the webhooks of the shop."""
    http = HttpRouter("http", __name__)

    @http.get("/health")
    def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"status": "ok"}

    @http.post("/orders/<text>")
    def order(ctx: ActionCtx, request: Request, text: str) -> str:
        ctx.run_mutation(place, text=text)
        return "placed"

    @http.webhook("/hooks/github", GitHub(secret=SECRET))
    def pushed(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Order(text=event.type))

    @http.webhook("/hooks/<shop>/github", GitHub(secret=per_tenant("shop", secret_of)))
    def of_shop(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Order(text=event.type))

    return http


def create_app() -> Flask:
    """Return the app for a server, whose settings are in the environment."""
    app = Flask("shop")
    app.config.from_prefixed_env()
    ConvexHTTP(app, schema=Schema(Order), functions=FUNCTIONS, metrics=True)
    app.register_blueprint(router())
    return app


@contextmanager
def measured(folder: Path, **options: Any) -> Iterator[Flask]:
    """Yield an app with metrics."""
    given: dict[str, Any] = {"metrics": True, "CONVEX_METRICS_TOKEN": TOKEN, "TESTING": True, **options}
    with deployed(folder, router(), schema=Schema(Order), functions=FUNCTIONS, **given) as app:
        yield app


def scrape(app: Flask, **headers: str) -> dict[str, float]:
    """Return the samples of a scrape, each under its name and labels as they are written."""
    response = app.test_client().get(PATH, headers={"Authorization": f"Bearer {TOKEN}", **headers})
    assert response.status_code == 200, response.text
    return samples_of(response.text)


def samples_of(text: str) -> dict[str, float]:
    """Return the samples of an exposition."""
    families = list(text_string_to_metric_families(text))
    return {_written(sample): sample.value for family in families for sample in family.samples}


def _written(sample: Any) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else str(sample.name)
