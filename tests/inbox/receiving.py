"""An app with a webhook for the tests of the inbox, with senders and a view of the inbox.

Deliveries are signed by the vendors' own libraries (`tests.webhooks.senders`), as of the app's clock.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import (
    Document,
    HmacSignature,
    HttpRouter,
    MutationCtx,
    Schema,
    Stripe,
    WebhookEvent,
)
from flask_convex_http.backend import Backend
from flask_convex_http.database.query import Query
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery, WebhookRequest
from flask_convex_http.testing import Clock, run_scheduled
from flask_convex_http.webhooks import Provider
from tests.web.apps import backend_of, deployed, send
from tests.webhooks.senders import SECRET, sign_hmac, sign_stripe

D = TypeVar("D", bound=Document)

Handler = Callable[[MutationCtx, WebhookEvent], Any]
Sign = Callable[[str, bytes, int], Mapping[str, str]]


class Effect(Document, table="effects"):
    """The effect of a handler for an event."""

    event: str


class Boom(Exception):
    """The error of failing handlers."""


def record(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Record the event; a handler."""
    ctx.db.insert(Effect(event=event.id))


def stripe() -> Provider:
    """Return Stripe, with the tests' secret."""
    return Stripe(secret=SECRET)


def numbered() -> Provider:
    """Return a provider whose ids and types are any text of the payload, signed by `sign_hmac`."""
    return HmacSignature(
        secret=SECRET,
        header="X-Signature",
        prefix="v0=",
        timestamp_header="X-Timestamp",
        signed="v0:{timestamp}:{body}",
        id_field="id",
        type_field="type",
    )


def payload(event_id: str = "evt_1", event_type: str = "order.paid", **subject: Any) -> bytes:
    """Return an event as Stripe writes it, with an object of these fields."""
    event = {"id": event_id, "object": "event", "type": event_type, "data": {"object": subject}}
    return json.dumps(event).encode()


@dataclass(frozen=True)
class Receiver:
    """An app that receives webhooks."""

    app: Flask

    @property
    def backend(self) -> Backend:
        """The backend of the app."""
        return backend_of(self.app)

    def deliver(
        self, event_id: str = "evt_1", event_type: str = "order.paid", *, path: str = "/hook", **subject: Any
    ) -> TestResponse:
        """Deliver an event as Stripe does, signed by its library."""
        return self.send(payload(event_id, event_type, **subject), sign_stripe, path=path)

    def send(
        self, body: bytes, sign: Sign = sign_hmac, *, path: str = "/hook", secret: str = SECRET, **headers: str
    ) -> TestResponse:
        """Send any bytes, with added or replaced headers."""
        signed = {"Content-Type": "application/json", **sign(secret, body, int(self.backend.clock() // 1000))}
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed.items()}
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
        return send(self.app, "POST", path, body, CONTENT_LENGTH=str(len(body)), **environ)

    def work(self, advance: timedelta | None = None) -> list[ScheduledFunction]:
        """Run the due jobs as a worker does, in the app's context."""
        return run_scheduled(self.app, advance=advance)

    def rows(self, document: type[D]) -> list[D]:
        """Return all documents of a table, oldest first."""
        table = self.backend.schema.table_for(document)
        with self.backend.engine.snapshot() as snapshot:
            return Query(snapshot, table, table.indexes["by_creation_time"]).collect()

    @property
    def effects(self) -> list[str]:
        """The events with an effect, one entry for each effect."""
        return [effect.event for effect in self.rows(Effect)]

    @property
    def deliveries(self) -> list[WebhookDelivery]:
        """The deliveries in the inbox."""
        return self.rows(WebhookDelivery)

    @property
    def delivery(self) -> WebhookDelivery:
        """The only delivery in the inbox."""
        [delivery] = self.deliveries
        return delivery

    @property
    def states(self) -> list[str]:
        """The states of the deliveries in the inbox, oldest first."""
        return [delivery.state for delivery in self.deliveries]

    @property
    def bodies(self) -> list[bytes]:
        """The stored bodies."""
        return [request.body for request in self.rows(WebhookRequest)]


@contextmanager
def receiving(
    folder: Path,
    handler: Handler = record,
    provider: Provider | None = None,
    *,
    clock: Clock | None = None,
    is_kept: bool = False,
    config: Mapping[str, Any] | None = None,
    functions: list[Any] | None = None,
    **options: Any,
) -> Iterator[Receiver]:
    """Yield an app with one webhook at /hook, on a temporary database or on the one in the folder."""
    http = HttpRouter("http", __name__)
    http.webhook("/hook", provider or stripe(), **options)(handler)
    more = {"TESTING": True, "PROPAGATE_EXCEPTIONS": False, **(config or {})}
    with deployed(
        folder, http, schema=Schema(Effect), functions=functions, clock=clock, is_kept=is_kept, **more
    ) as app:
        yield Receiver(app)
