"""Rejected forgeries of every provider, against `GET /health`: `python -m benchmarks.forgeries --only stripe,github`.

One app has the webhook of each sender in the contract tests. A forgery is a delivery that another secret has signed, so
that its signature is checked. It is compared with `GET /health`, and with the floor: the same request to a plain Flask
view that reads the body, makes the one call of a cryptographic library that the sender's signature needs, and responds
with an error. The least is the same without Flask, in a WSGI application that does nothing else. The figures are the
processor time of the gunicorn worker in this process, from the bytes of the request to those of the response, the best
of all rounds.

They are those of a flood, whose forgeries are rejected before Flask. With `--through-flask` the app has a function for
each request, so that Flask sees all of them.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask, Request

from benchmarks.load import get
from benchmarks.peers import bare_checks
from benchmarks.worker_in_process import WorkerInProcess
from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, MutationCtx, Schema, WebhookEvent
from flask_convex_http.webhooks.base import Provider

#: The processor time of GET /health, relative to that of a forgery, that each provider should reach.
TARGET = 0.8
#: Signatures with a public key: the check alone takes as long as a whole request.
_WITH_PUBLIC_KEY = ("ed25519", "ecdsa", "rsa")
#: Requests of one kind in a round, and before the first.
_NUMBER, _WARM_UP = 8, 40


@dataclass(frozen=True, slots=True)
class Forged:
    """A sender whose deliveries are forged.

    Attributes:
        provider: The provider, with a secret.
        delivery: Returns the headers and the body of a delivery that another secret has signed just now.
    """

    provider: Provider
    delivery: Callable[[], tuple[Mapping[str, str], bytes]]


def create_app(folder: str, *, through_flask: bool = False) -> Flask:
    """Return an app with the webhook of each sender.

    Args:
        folder: The folder of its database.
        through_flask: Whether the app has a function for each request.
    """
    logging.getLogger("flask_convex_http").setLevel(logging.ERROR)
    app = Flask(__name__, instance_path=folder)
    app.config["CONVEX_WORKER"] = "off"
    http = HttpRouter("http", __name__)
    http.get("/health")(_health)
    for name, forged in senders().items():
        http.webhook(f"/{name}", forged.provider, endpoint=name)(_ignore)
    convex = ConvexHTTP(app, schema=Schema())
    app.register_blueprint(http)
    bare_checks.add_bare_checks(app)
    if through_flask:
        app.teardown_appcontext(_close_nothing)
    with app.app_context():
        convex.migrate()
    return app


def senders() -> dict[str, Forged]:
    """Return all senders of the contract tests by their names."""
    contracts = importlib.import_module("tests.webhooks.providers.catalogue").provider_senders()
    found = importlib.import_module("tests.webhooks.senders").SENDERS
    forged = {name: Forged(each.provider(each.secret), _of_contract(each)) for name, each in contracts.items()}
    return forged | {name: Forged(each.provider(), _of_sender(each)) for name, each in found.items()}


def request_of(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a delivery to a path."""
    named = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    fields = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sender\r\n{fields}\r\n".encode() + body


def measure(rounds: int, only: str, *, through_flask: bool) -> None:
    """Measure and print each sender, or those whose names are in `only`, separated by commas."""
    wanted = set(filter(None, only.split(",")))
    found = {name: forged for name, forged in senders().items() if not wanted or name in wanted}
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(folder, through_flask=through_flask)
        with WorkerInProcess(bare_checks.beside(app)) as worker:
            print(f"  {'':20}{'CPU':>10}{'of /health':>12}{'of the floor':>14}{'floor':>20}{'least':>10}")
            for name, forged in found.items():
                _print_line(name, _measure(worker, name, forged, rounds))
        app.extensions["convex_http"].close()


def _measure(worker: WorkerInProcess, name: str, forged: Forged, rounds: int) -> list[float]:
    """Return the processor times of a forgery, of /health, of the floor and of the least: the best of all rounds."""
    headers, body = forged.delivery()
    paths = f"/{name}", bare_checks.path_of(name), bare_checks.least_path_of(name)
    own, floor, least = (request_of(path, headers, body) for path in paths)
    requests = own, get("/health"), floor, least
    for request, status in zip(requests, (b"4", b"2", b"4", b"4"), strict=True):
        for _ in range(_WARM_UP):  # more than are recorded at once
            _, response = worker.send(request)
        assert response.split()[1].startswith(status), response[:100]
    turns = [[worker.mean(request, _NUMBER) for request in requests] for _ in range(rounds)]
    return [min(times) for times in zip(*turns, strict=True)]


def _print_line(name: str, times: Sequence[float]) -> None:
    own, health, floor, least = times
    kind = bare_checks.kind_of(name)
    missed = "  MISSED" if health / own < TARGET and kind not in _WITH_PUBLIC_KEY else ""
    ratios = f"{health / own:11.2f}x{floor / own:13.2f}x"
    print(
        f"  {name:20}{own * 1e6:7.0f} µs{ratios}{kind:>12}{floor * 1e6:5.0f} µs{least * 1e6:7.0f} µs{missed}",
        flush=True,
    )


def _of_contract(contract: Any) -> Callable[[], tuple[Mapping[str, str], bytes]]:
    def delivery() -> tuple[Mapping[str, str], bytes]:
        now = time.time() * 1000 if contract.now is None else contract.now
        request = contract.request(contract.other_secret, contract.body, now)
        return request.headers, request.body

    return delivery


def _of_sender(sender: Any) -> Callable[[], tuple[Mapping[str, str], bytes]]:
    return lambda: (sender.headers(secret=sender.other_secret, at=int(time.time())), sender.body)


def _health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    return {"status": "ok"}


def _close_nothing(error: BaseException | None) -> None:
    pass


def _ignore(ctx: MutationCtx, event: WebhookEvent) -> None:
    pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rejected forgeries of every provider.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", default="", help="names of senders, separated by commas")
    parser.add_argument("--through-flask", action="store_true", help="let Flask see each forgery")
    given = parser.parse_args()
    measure(given.rounds, given.only, through_flask=given.through_flask)
