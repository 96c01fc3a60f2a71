"""A delivery through `.on()` against one through a plain handler: `python -m benchmarks.dispatch`.

Both are Stripe's, in process, with the durability `normal`. The figures are processor times, so that the disk does not
hide the difference. The deliveries are signed before they are timed. `.on()` finds its handler among ten patterns.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.harness import Row, alternate, print_table, row
from benchmarks.items import Item
from flask_convex_http import ConvexHTTP, HttpRouter, MutationCtx, Schema, Stripe, WebhookEvent
from flask_convex_http.webhooks.samples import Faults, make_deliveries

TARGET = 1 / 0.97
_SECRET, _TYPE, _PATH = "whsec_of_the_benchmark", "checkout.session.completed", "/hook"
_ROUNDS, _CALLS = 61, 50
_OTHERS = (
    *("invoice.paid", "invoice.*", "customer.created", "customer.deleted", "customer.subscription.*"),
    *("charge.*", "payout.*", "product.*", "price.*"),
)


def store(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Insert one row."""
    ctx.db.insert(Item(name=event.id, description=event.type))


def ignore(ctx: MutationCtx, event: WebhookEvent) -> None:
    """Do nothing."""


def app_with(folder: Path, http: HttpRouter) -> Flask:
    """Return a migrated app with a router."""
    app = Flask("benchmark", instance_path=str(folder))
    app.config |= {"CONVEX_WORKER": "off", "CONVEX_DURABILITY": "normal"}
    convex = ConvexHTTP(app, schema=Schema(Item))
    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
    return app


def plain() -> HttpRouter:
    """Return a router whose webhook has one handler."""
    http = HttpRouter("plain", __name__)
    http.webhook(_PATH, Stripe(secret=_SECRET))(store)
    return http


def dispatching() -> HttpRouter:
    """Return a router whose webhook has a handler for each of ten patterns."""
    http = HttpRouter("dispatching", __name__)
    stripe = http.webhook(_PATH, Stripe(secret=_SECRET))
    stripe.on(_TYPE)(store)
    for pattern in _OTHERS:
        stripe.on(pattern)(ignore)
    return http


def requests() -> Iterator[dict[str, object]]:
    """Return the WSGI environments of signed deliveries, each of its own event."""
    provider, made = Stripe(secret=_SECRET), []
    for number in range(_ROUNDS * _CALLS + 1):
        [delivery] = make_deliveries(provider, [_TYPE], Faults(), now=time.time() * 1000, event_id=f"evt_{number}")
        made.append(
            {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": _PATH,
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(delivery.body),
                "CONTENT_LENGTH": str(len(delivery.body)),
                "CONTENT_TYPE": "application/json",
                **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in delivery.headers.items()},
            }
        )
    return iter(made)


def caller(app: Flask) -> Callable[[], object]:
    """Return a function that sends the next delivery to an app."""
    environments, statuses = requests(), list[str]()

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
        statuses.append(status)
        return len  # nobody calls it

    def call() -> None:
        b"".join(app(next(environments), start))
        assert statuses.pop() == "200 OK"

    call()  # the first request creates what the others use
    return call


def measure() -> list[Row]:
    """Return the line of the table."""
    logging.getLogger("flask_convex_http").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        apps = [app_with(Path(folder, router.name), router) for router in (dispatching(), plain())]
        ours, theirs = map(caller, apps)
        result = alternate(ours, theirs, rounds=_ROUNDS, number=_CALLS, timer=time.process_time)
        for app in apps:
            app.extensions["convex_http"].close()
    return [row("a delivery through .on() (by hand: a plain handler)", result, TARGET)]


if __name__ == "__main__":
    print_table("Dispatch by type", measure())
