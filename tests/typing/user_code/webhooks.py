# type: ignore  # half of the lines are wrong on purpose; test_typing.py checks the file without this line
"""Webhooks, and test deliveries to them."""

from typing import assert_type

from flask import Request
from flask.testing import FlaskClient

from flask_convex_http import (
    ActionCtx,
    HttpRouter,
    Id,
    MutationCtx,
    Stripe,
    WebhookEvent,
)
from flask_convex_http.testing import deliver
from user_code.documents import Item
from user_code.routes import NewItem

http = HttpRouter("webhooks", __name__)


@http.webhook("/stripe", Stripe(secret="whsec_1"), source="stripe", mode="enqueue", order_by="data.object.customer")
def on_stripe(ctx: MutationCtx, event: WebhookEvent) -> None:
    assert_type(event.type, str)
    assert_type(ctx.db.insert(Item(name=event.id)), Id[Item])


http.webhook("/stripe", Stripe(secret="whsec_1"), mode="later")  # E: "mode"
by_type = http.webhook("/by-type", Stripe(secret="whsec_1"))


@by_type.on("item.created", "item.*")
def on_item(ctx: MutationCtx, event: WebhookEvent, item: NewItem) -> None:
    assert_type(item.name, str)


@by_type.otherwise
def on_other(ctx: MutationCtx, event: WebhookEvent) -> None: ...


def takes_request(ctx: MutationCtx, request: Request) -> None: ...


def takes_action_ctx(ctx: ActionCtx, event: WebhookEvent, item: NewItem) -> None: ...


def takes_four(ctx: MutationCtx, event: WebhookEvent, item: NewItem, more: str) -> None: ...


by_type.on("a")(takes_request)  # E: Request
by_type.on("a")(takes_action_ctx)  # E: ActionCtx
by_type.on("a")(takes_four)  # E: NewItem
by_type.on()  # E: "pattern"
by_type.otherwise(takes_request)  # E: Request
http.webhook("/stripe", Stripe(secret="whsec_1"), order="customer")  # E: "order"
http.webhook("/stripe", Stripe(secret="whsec_1", tolerance=300))  # E: "tolerance"


def delivers(client: FlaskClient) -> None:
    assert_type(deliver(client, "stripe", "invoice.paid", duplicate=2).status_code, int)
    deliver(client, "stripe", "invoice.paid", duplicat=2)  # E: "duplicat"
