"""Metrics of several processes behind one port."""

import operator
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from flask_convex_http import Schema
from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from tests.lengths import LONG
from tests.metrics.shop import FUNCTIONS, PATH, TOKEN, Order, samples_of
from tests.processes.servers import Deployment, Kind, Server, running

_APP = "tests.metrics.shop:create_app()"
_KINDS = {
    "gunicorn": Kind(
        ("gunicorn", "-c", "python:flask_convex_http.gunicorn", _APP, "--bind", "127.0.0.1:0", "--threads", "4"), (0,)
    ),
    "granian": Kind(("flask_convex_http.granian", _APP, "--port", "{port}", "--blocking-threads", "4"), (0,)),
}
_HEALTH = 'convex_http_requests_total{method="GET",route="/health",status="200"}'
_PLACED = 'convex_function_calls_total{function="shop:place",kind="mutation",outcome="success"}'
_ORDERS = 'convex_http_requests_total{method="POST",route="/orders/<text>",status="200"}'


def _serving(kind: str, folder: Path) -> AbstractContextManager[Server]:
    deployment = Deployment(folder)
    deployment.settings["CONVEX_METRICS_TOKEN"] = TOKEN
    backend = Backend(Settings.from_mapping(deployment.settings), Schema(Order), FUNCTIONS, folder=folder)
    backend.migrate()
    backend.close()
    return running(Server(deployment, _KINDS[kind]))


def _scrape(server: Server) -> dict[str, float]:
    response = server.request("GET", PATH, headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status == 200
    return samples_of(response.body.decode())


@LONG
@pytest.mark.parametrize("kind", list(_KINDS))
def test_two_workers_count_as_one(kind: str, tmp_path: Path) -> None:
    """Each scrape has the requests of both workers. Those of a killed worker stay, and a new one takes its place."""
    with _serving(kind, tmp_path) as server:
        server.wait(lambda: len(server.workers) == 2, "start two workers")
        before = _scrape(server).get(_HEALTH, 0)
        for _ in range(40):
            assert server.request("GET", "/health").status == 200
            assert server.request("POST", "/orders/tea").status == 200

        def counts() -> list[float]:
            found = _scrape(server)
            return [found.get(name, 0) for name in (_ORDERS, _PLACED, "convex_group_commit_size_sum", _HEALTH)]

        # The worker that responds has its own numbers, and those that the other one has shared within a second.
        server.wait(lambda: all(map(operator.ge, counts(), (40, 40, 40, before + 40))), "count all requests")
        assert counts()[:2] == [40, 40]
        server.wait(lambda: _scrape(server)["convex_processes"] == 2, "count both processes")
        server.wait(lambda: _scrape(server)["convex_workers"] == 2, "count both workers")

        os.kill(server.workers[0], signal.SIGKILL)
        server.wait(lambda: len(server.workers) == 3, "replace the worker")
        for _ in range(10):
            found = _scrape(server)
            assert found[_ORDERS] == 40
            assert found["convex_processes"] <= 2
        names = {path.stem.partition("-")[0] for path in tmp_path.glob("**/*.metrics/*-*.json")}
        assert str(server.workers[0]) not in names
