"""Rejected forgeries of every provider, against `GET /health`: `python -m benchmarks.forgeries --only stripe,github`.

One server has the webhook of each sender in the contract tests. A forgery is a delivery that another secret has signed,
so that its signature is checked. It is compared with `GET /health`, and with the floor: the same request to a plain
Flask view that reads the body, makes the one call of a cryptographic library that the sender's signature needs, and
responds with an error. The figures are the processor time of the server, which says the same as the rate when the
processor is busy, and does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Request

from benchmarks import servers
from benchmarks.http_writes import THREADS
from benchmarks.load import get, load
from benchmarks.peers import bare_checks
from benchmarks.servers import Server
from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, MutationCtx, Schema, WebhookEvent
from flask_convex_http.webhooks.base import Provider

#: The processor time of GET /health, relative to that of a forgery, that each provider should reach.
TARGET = 0.8
#: Signatures with a public key: the check alone takes as long as a whole request.
_WITH_PUBLIC_KEY = ("ed25519", "ecdsa", "rsa")
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Forged:
    """A sender whose deliveries are forged.

    Attributes:
        provider: The provider, with a secret.
        delivery: Returns the headers and the body of a delivery that another secret has signed just now.
    """

    provider: Provider
    delivery: Callable[[], tuple[Mapping[str, str], bytes]]


def create_app(folder: str) -> Flask:
    """Return the app for gunicorn, with the webhook of each sender."""
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


def measure(rounds: int, seconds: float, only: str) -> None:
    """Measure and print each sender, or those whose names are in `only`, separated by commas."""
    wanted = set(filter(None, only.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        command = servers.gunicorn(f"benchmarks.forgeries:create_app({folder!r})", THREADS, workers=1)
        with Server("forgeries", command, Path(folder), dict(os.environ)) as server:
            _time(server, get("/health"), 2.0)
            print(f"  {'':20}{'CPU':>10}{'of /health':>12}{'of the floor':>14}{'floor':>20}")
            for name, forged in senders().items():
                if not wanted or name in wanted:
                    _print_line(name, _turns(server, name, forged, rounds, seconds))


def _turns(server: Server, name: str, forged: Forged, rounds: int, seconds: float) -> list[tuple[float, float, float]]:
    """Return the times of a forgery, of /health and of the floor, for each round."""
    headers, body = forged.delivery()
    paths = f"/{name}", bare_checks.path_of(name)
    own, floor = (request_of(path, headers, body) for path in paths)
    return [_turn(server, (own, get("/health"), floor), seconds) for _ in range(rounds)]


def _turn(server: Server, requests: tuple[bytes, bytes, bytes], seconds: float) -> tuple[float, float, float]:
    one, two, three = (_time(server, request, seconds) for request in requests)
    return one, two, three


def _print_line(name: str, turns: list[tuple[float, float, float]]) -> None:
    of_health = statistics.median(health / own for own, health, _ in turns)
    of_floor = statistics.median(floor / own for own, _, floor in turns)
    kind = bare_checks.kind_of(name)
    missed = "  MISSED" if of_health < TARGET and kind not in _WITH_PUBLIC_KEY else ""
    own, floor = (statistics.median(turn[place] for turn in turns) * 1e6 for place in (0, 2))
    print(f"  {name:20}{own:7.0f} µs{of_health:11.2f}x{of_floor:13.2f}x{kind:>12}{floor:5.0f} µs{missed}", flush=True)


def _time(server: Server, request: bytes, seconds: float) -> float:
    """Return the processor time of the server for each request, in seconds."""
    before = _cpu_seconds(server.pid)
    burst = load(server.port, itertools.repeat(request), _CONNECTIONS, seconds, check=lambda sent, received: None)
    return (_cpu_seconds(server.pid) - before) / burst.acknowledged


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children, which Linux knows to the nanosecond."""
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    used = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    return used + sum(
        _cpu_seconds(int(child)) for thread in threads for child in (thread / "children").read_text().split()
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


def _ignore(ctx: MutationCtx, event: WebhookEvent) -> None:
    pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rejected forgeries of every provider.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--only", default="", help="names of senders, separated by commas")
    given = parser.parse_args()
    measure(given.rounds, given.seconds, given.only)
