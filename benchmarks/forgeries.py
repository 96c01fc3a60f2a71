"""Rejected forgeries of every provider, against `GET /health`: `python -m benchmarks.forgeries`.

One server has the webhook of each sender in the contract tests. A forgery is a delivery that another secret has signed,
so that its signature is checked. It is compared with `GET /health`, and with the same body sent to a view that only
reads it, which is what a rejection could reach at best. The figures are the processor time of the server, which says
the same as the rate when the processor is busy, and does not depend on what else the machine does.
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
from pathlib import Path

from flask import Flask, Request, Response

from benchmarks import servers
from benchmarks.http_writes import THREADS
from benchmarks.load import get, load
from benchmarks.servers import Server
from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, MutationCtx, Schema, WebhookEvent, error_response
from flask_convex_http.testing.provider_suite import ProviderContract

#: The processor time of GET /health, relative to that of a forgery, that each provider should reach.
TARGET = 0.8
#: Signatures with a public key: the check alone takes as long as a whole request.
_PUBLIC_KEYS = frozenset({"appstore", "awssns", "discord", "ed25519", "googlepubsub", "paypal", "plaid", "sendgrid"})
_CONNECTIONS = 16


def create_app(folder: str) -> Flask:
    """Return the app for gunicorn, with the webhook of each sender."""
    logging.getLogger("flask_convex_http").setLevel(logging.ERROR)
    app = Flask(__name__, instance_path=folder)
    app.config["CONVEX_WORKER"] = "off"
    http = HttpRouter("http", __name__)
    http.get("/health")(_health)
    http.post("/read")(_read)
    for name, case in _senders().items():
        http.webhook(f"/{name}", case.provider(case.secret), endpoint=name)(_ignore)
    convex = ConvexHTTP(app, schema=Schema())
    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
    return app


def measure(rounds: int, seconds: float, only: str) -> None:
    """Measure and print each sender, or those whose name contains `only`."""
    senders = {name: case for name, case in _senders().items() if only in name}
    with tempfile.TemporaryDirectory() as folder:
        command = servers.gunicorn(f"benchmarks.forgeries:create_app({folder!r})", THREADS, workers=1)
        with Server("forgeries", command, Path(folder), dict(os.environ)) as server:
            _time(server, get("/health"), 2.0)
            print(f"  {'':20}{'CPU':>10}{'of /health':>12}{'of reading':>12}")
            for name, case in senders.items():
                requests = _post(f"/{name}", case), get("/health"), _post("/read", case)
                _print_line(name, [_turn(server, requests, seconds) for _ in range(rounds)])


def _print_line(name: str, turns: list[tuple[float, float, float]]) -> None:
    of_health = statistics.median(health / own for own, health, _ in turns)
    of_reading = statistics.median(reading / own for own, _, reading in turns)
    missed = "  MISSED" if of_health < TARGET and name not in _PUBLIC_KEYS else ""
    own = statistics.median(turn[0] for turn in turns)
    print(f"  {name:20}{own * 1e6:7.0f} µs{of_health:11.2f}x{of_reading:11.2f}x{missed}", flush=True)


def _turn(server: Server, requests: tuple[bytes, bytes, bytes], seconds: float) -> tuple[float, float, float]:
    one, two, three = (_time(server, request, seconds) for request in requests)
    return one, two, three


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


def _senders() -> dict[str, ProviderContract]:
    found: dict[str, ProviderContract] = importlib.import_module(
        "tests.webhooks.providers.catalogue"
    ).provider_senders()
    return found


def _post(path: str, case: ProviderContract) -> bytes:
    sent = case.request(case.other_secret, case.body, time.time() * 1000 if case.now is None else case.now)
    named = {"Content-Type": "application/json", **sent.headers, "Content-Length": str(len(sent.body))}
    fields = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sender\r\n{fields}\r\n".encode() + sent.body


def _health(ctx: ActionCtx, request: Request) -> dict[str, str]:
    return {"status": "ok"}


def _read(ctx: ActionCtx, request: Request) -> Response:
    request.get_data()
    return error_response("no", 400)


def _ignore(ctx: MutationCtx, event: WebhookEvent) -> None:
    pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rejected forgeries of every provider.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    measure(given.rounds, given.seconds, given.only)
