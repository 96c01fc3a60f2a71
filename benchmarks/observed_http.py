"""`GET /health` with dashboard, log records and metrics, against none of them: `python -m benchmarks.observed_http`.

Two workers of gunicorn, 32 connections.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from flask import Flask, Request

from benchmarks import servers, slow_sync
from benchmarks.bursts import SECONDS, Burst, Target, alternate, parser, print_comparison, print_head
from benchmarks.http_writes import THREADS
from benchmarks.load import get, load
from benchmarks.servers import Server
from benchmarks.writes import new_folders
from flask_convex_http import ActionCtx, ConvexHTTP, HttpRouter, Schema

CONNECTIONS = 32
OBSERVED, BARE = "observed", "bare"
TARGET = Target(1 / 1.05)


def app_of(folder: str, side: str) -> Flask:
    """Return the app of a side."""
    app = Flask("health", instance_path=folder)
    app.config["CONVEX_WORKER"] = "off"
    is_observed = side == OBSERVED
    convex = ConvexHTTP(app, schema=Schema(), dashboard=is_observed, metrics=is_observed)
    http = HttpRouter("http", __name__)

    @http.get("/health")
    def health(ctx: ActionCtx, request: Request) -> dict[str, str]:
        return {"status": "ok"}

    app.register_blueprint(http)
    with app.app_context():
        convex.migrate()
    return app


class HealthServer(Server):
    """A server of the app, as one side of the comparison.

    Args:
        name: The side.
        folder: The folder of its database.
    """

    def __init__(self, name: str, folder: Path) -> None:
        command = servers.gunicorn(f"benchmarks.observed_http:app_of({str(folder)!r}, {name!r})", THREADS)
        super().__init__(name, command, folder, slow_sync.environment(0.0))
        self._acknowledged = 0

    def run(self, seconds: float) -> Burst:
        """Send requests for some seconds."""
        burst = load(self.port, itertools.repeat(get("/health")), CONNECTIONS, seconds)
        self._acknowledged += burst.acknowledged
        return burst

    def stored(self) -> int:
        """Return the number of responses, since a read stores nothing."""
        return self._acknowledged


def print_lines(durabilities: Sequence[str] = (), only: str = "", rounds: int = 5, seconds: float = SECONDS) -> None:
    """Measure and print the line."""
    print_head(f"Reads with the dashboard and metrics, {CONNECTIONS} connections")
    with new_folders(OBSERVED, BARE) as folders, contextlib.ExitStack() as stack:
        names = zip((OBSERVED, BARE), folders, strict=True)
        sides = [stack.enter_context(HealthServer(name, folder)) for name, folder in names]
        measured = alternate(sides, rounds, seconds)
    print_comparison("GET /health", "", measured, [TARGET])


if __name__ == "__main__":
    given = parser("Reads with the dashboard and metrics.").parse_args()
    print_lines((), given.only, given.rounds, given.seconds)
