"""An app whose functions succeed, fail and log, for the tests of logs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Request

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    GitHub,
    HttpRouter,
    MutationCtx,
    QueryCtx,
    Schema,
    WebhookEvent,
    mutation,
    query,
)
from flask_convex_http.logs import Logs
from tests.web.apps import backend_of, deployed

#: The application's own logger.
SHOP = logging.getLogger("shop")


class Order(Document, table="orders"):
    """An order."""

    text: str


@query
def count(ctx: QueryCtx) -> int:
    """Count the orders."""
    return len(ctx.db.query(Order).collect())


@mutation
def place(ctx: MutationCtx, *, text: str) -> int:
    """Place an order, log it, and count all."""
    if text == "bad":
        raise ConvexError("This order is not taken")
    if text == "broken":
        raise ZeroDivisionError("the till is broken")
    ctx.db.insert(Order(text=text))
    SHOP.warning("an order of %d letters", len(text))
    return ctx.run_query(count)


@mutation
def place_later(ctx: MutationCtx, *, text: str) -> None:
    """Place an order in a job."""
    ctx.scheduler.run_after(0, place, text=text)


def router() -> HttpRouter:
    """Return the routes of the app."""
    http = HttpRouter("http", __name__)

    @http.post("/orders/<text>")
    def create(ctx: ActionCtx, request: Request, text: str) -> dict[str, int]:
        return {"count": ctx.run_mutation(place, text=text)}

    @http.webhook("/hooks/github", GitHub(secret="s" * 32))
    def pushed(ctx: MutationCtx, event: WebhookEvent) -> None:
        ctx.db.insert(Order(text="pushed"))

    return http


@contextmanager
def shop(folder: Path, *, is_kept: bool = False, **config: Any) -> Iterator[Flask]:
    """Yield the app, which keeps its logs."""
    functions: list[Any] = [count, place, place_later]
    config = {"CONVEX_LOG_ROWS": 1000} | config
    with deployed(folder, router(), schema=Schema(Order), functions=functions, is_kept=is_kept, **config) as app:
        app.config.update(TESTING=True, PROPAGATE_EXCEPTIONS=False)
        yield app


def logs_of(app: Flask) -> Logs:
    """Return the logs of the app."""
    return backend_of(app).logs
