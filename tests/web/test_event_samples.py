"""More than a hundred events in the shapes that their senders document, given to handlers with annotated objects."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest
from flask import Flask

from flask_convex_http import HttpRouter, MutationCtx, Provider, WebhookEvent
from flask_convex_http.webhooks.samples import Faults, make_deliveries
from flask_convex_http.webhooks.samples.events import event_types
from tests.web.apps import deployed
from tests.webhooks.providers.catalogue import provider_senders
from tests.webhooks.providers.contract import SenderContract
from tests.webhooks.senders import SENDERS

Fields = dict[str, Any]


class Money(msgspec.Struct):
    """An amount of Square."""

    amount: int
    currency: str


class Named(msgspec.Struct):
    """A part with an id."""

    id: int | str


class Repository(msgspec.Struct):
    """A repository of GitHub or Bitbucket."""

    full_name: str


MAIL: Fields = {"email_id": str, "created_at": datetime, "to": list[str], "subject": str}
BOUNCE: Fields = {"email": str, "timestamp": int, "sg_event_id": str, "category": list[str]}
POSTMARK: Fields = {"MessageID": str, "MessageStream": str}
DEPLOYMENT: Fields = {"deployment": Named, "project": Named, "regions": list[str]}
MEETING: Fields = {"id": str, "uuid": str, "topic": str, "start_time": datetime, "duration": int}
ORDER: Fields = {"id": int, "confirmed": bool, "contact_email": str | None}
TWITCH: Fields = {"broadcaster_user_id": str, "broadcaster_user_login": str}
#: The fields of the object of each type of a sender, "" for those of all other types.
SHAPES: dict[str, dict[str, Fields]] = {
    "stripe": {
        "": {"id": str, "object": str, "created": int},
        "checkout.session.completed": {"id": str, "amount_total": int, "currency": str},
        "invoice.paid": {"id": str, "amount_paid": int, "attempted": bool},
        "account.updated": {"id": str, "charges_enabled": bool, "capabilities": dict[str, str]},
        "v1.billing.meter.error_report_triggered": {"id": str, "type": str, "url": str},
    },
    "github": {
        "": {"action": str, "repository": Repository},
        "ping": {"zen": str, "hook_id": int},
        "push": {"ref": str, "after": str, "forced": bool, "repository": Repository},
        "pull_request": {"action": str, "number": int, "repository": Repository},
    },
    "shopify": {
        "": ORDER,
        "app/uninstalled": {"id": int, "myshopify_domain": str},
        "customers/redact": {"shop_id": int, "shop_domain": str, "orders_to_redact": list[int]},
        "products/update": {"id": int, "title": str, "created_at": datetime},
    },
    "clerk": {
        "": {"id": str, "object": str},
        "user.created": {"id": str, "first_name": str | None, "banned": bool, "created_at": int},
        "session.created": {"id": str, "status": str, "expire_at": int},
    },
    "paddle": {"": {"id": str, "status": str, "customer_id": str, "items": list[dict[str, Any]]}},
    "polar": {
        "": {"id": str, "status": str, "amount": int, "current_period_start": datetime},
        "order.created": {"id": str, "paid": bool, "total_amount": int, "created_at": datetime},
        "order.paid": {"id": str, "paid": bool, "total_amount": int, "created_at": datetime},
    },
    "resend": {"": MAIL},
    "twilio": {
        "": {"MessageSid": str, "MessageStatus": str, "To": str},
        "call.ringing": {"CallSid": str, "CallStatus": str},
        "message.received": {"MessageSid": str, "Body": str, "NumMedia": str},
    },
    "workos": {"": {"object": str, "id": str, "email": str}},
    "bitbucket": {"": {"repository": Repository, "pullrequest": Named}, "repo:push": {"repository": Repository}},
    "calcom": {"": {"title": str, "startTime": datetime, "attendees": list[dict[str, Any]]}},
    "paystack": {
        "": {"status": str, "amount": int},
        "charge.success": {"id": int, "reference": str, "paid_at": datetime},
        "transfer.success": {"id": int, "transfer_code": str},
    },
    "postmark": {
        "": POSTMARK,
        "Bounce": {**POSTMARK, "ID": int, "TypeCode": int},
        "Open": {**POSTMARK, "FirstOpen": bool, "ReceivedAt": datetime},
        "Inbound": {"Subject": str, "TextBody": str},
    },
    "razorpay": {"": {"payment": dict[str, Any]}},
    "revenuecat": {"": {"id": str, "app_user_id": str, "product_id": str, "aliases": list[str]}},
    "sendgrid": {"": BOUNCE},
    "sentry": {
        "": {"issue": Named},
        "error.created": {"error": dict[str, Any]},
        "event_alert.triggered": {"event": dict[str, Any], "triggered_rule": str},
        "installation.deleted": {"installation": dict[str, Any]},
    },
    "square": {
        "": {"id": str, "amount_money": Money, "created_at": datetime},
        "customer.created": {"id": str, "given_name": str, "version": int},
    },
    "telegram": {
        "": {"message_id": int, "date": int, "text": str},
        "callback_query": {"id": str, "data": str},
    },
    "twitch": {
        "": TWITCH,
        "channel.follow": {"user_id": str, "followed_at": datetime},
        "revocation": {"id": str, "status": str, "condition": dict[str, Any]},
    },
    "typeform": {"": {"form_id": str, "token": str, "landed_at": datetime}},
    "vercel": {"": DEPLOYMENT, "project.created": {"project": Named}},
    "zoom": {"": MEETING},
}
EVENTS = {name: event_types(name) for name in SHAPES}


class Hooks:
    """An app with a webhook for each sender, whose handlers take an annotated object for each type.

    Attributes:
        seen: The type of the handler that ran, the event and its object.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, WebhookEvent, Any]] = []
        self.router = HttpRouter("http", __name__)
        self.app: Flask
        self.providers: dict[str, tuple[Provider, Provider]] = {}

    def add(self, sender: str) -> None:
        """Add the webhook of a sender."""
        self.providers[sender] = providers_of(sender)
        hook = self.router.webhook(f"/hooks/{sender}", self.providers[sender][0], source=sender)
        for name in EVENTS[sender]:
            hook.on(name)(self.handler(name, SHAPES[sender].get(name) or SHAPES[sender][""]))

    def handler(self, name: str, fields: Fields) -> Any:
        """Return a handler of one type, whose third parameter has the fields."""
        made = msgspec.defstruct("Object", list(fields.items()))

        def handle(ctx: MutationCtx, event: WebhookEvent, found: Any) -> None:
            self.seen.append((name, event, found))

        handle.__annotations__["found"] = made
        return handle


def providers_of(sender: str) -> tuple[Provider, Provider]:
    """Return the provider that receives, and one that can sign, with a private key where the other has a public one."""
    generic = SENDERS.get("svix" if sender == "clerk" else sender)
    if generic is not None:
        return generic.provider(), generic.provider()
    case = provider_senders()[sender]
    assert isinstance(case, SenderContract)
    return case.provider(), case.provider(case.signing_secret(case.secret))


@pytest.fixture(name="hooks", scope="module")
def _hooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    hooks = Hooks()
    for sender in SHAPES:
        hooks.add(sender)
    with deployed(tmp_path_factory.mktemp("samples"), hooks.router) as app:
        hooks.app = app
        yield hooks


def test_there_are_a_hundred_events_of_ten_senders() -> None:
    """The table has as many events as it says."""
    assert sum(map(len, EVENTS.values())) >= 100
    assert len(EVENTS) >= 10


@pytest.mark.parametrize("sender", SHAPES)
def test_handler_gets_the_converted_object(sender: str, hooks: Hooks) -> None:
    """Each event runs the handler of its type once, with the sender's object converted to the annotation."""
    provider, signer = hooks.providers[sender]
    for name in EVENTS[sender]:
        hooks.seen.clear()
        [sample] = make_deliveries(signer, name, Faults(), now=time.time() * 1000, sender=sender)
        response = hooks.app.test_client().post(f"/hooks/{sender}", data=sample.body, headers=dict(sample.headers))
        assert response.status_code == provider.profile.stop_status, response.text
        [(handled, event, found)] = hooks.seen
        assert (handled, event.type) == (name, name)
        raw = provider.object_of(event)
        fields = msgspec.structs.asdict(found)
        assert fields.keys() == (SHAPES[sender].get(name) or SHAPES[sender][""]).keys()
        for field, value in fields.items():
            assert msgspec.convert(raw[field], type(value)) == value, field
