"""Real servers: the records of all workers are in one store, each once, and lines are JSON."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lengths import LONG
from tests.processes.servers import Deployment, Server, serving

pytestmark = LONG


def _deployment(folder: Path) -> Deployment:
    deployment = Deployment(folder)
    deployment.migrate()
    deployment.settings |= {"CONVEX_LOG": "json", "CONVEX_LOG_ROWS": "5000"}  # as the environment has them
    return deployment


def _records(deployment: Deployment) -> list[Any]:
    records: list[Any] = deployment.command_json("logs", "--limit", "5000", "--text", "GET /health")
    return records


def _ask(server: Server, first: int, last: int) -> list[str]:
    ids = [f"request-{number}" for number in range(first, last)]
    for request_id in ids:
        assert server.request("GET", "/health", headers={"X-Request-Id": request_id}).status == 200
    return ids


def _logged(server: Server) -> list[str]:
    """Return the ids of the requests that have a line so far."""
    lines = [json.loads(line) for line in server.output.splitlines(keepends=True) if line[0] + line[-1] == "{\n"]
    logged = [line["request_id"] for line in lines if line["logger"] == "flask_convex_http.requests"]
    return [each for each in logged if each.startswith("request-")]


@pytest.mark.parametrize("kind", ["flask", "gunicorn", "granian"])
def test_each_request_of_each_worker_is_one_record(tmp_path: Path, kind: str) -> None:
    """Each request is one record in the store and one JSON line, whichever worker has served it."""
    deployment = _deployment(tmp_path)
    with serving(kind, deployment) as server:
        ids = _ask(server, 0, 40)

        def are_stored() -> bool:
            found = [record.get("request_id") for record in _records(deployment)]
            return set(ids) <= set(found) and all(found.count(each) == 1 for each in ids)

        server.wait(are_stored, "store each record once")
        server.wait(lambda: len(_logged(server)) >= len(ids), "log each request")
        assert sorted(_logged(server)) == sorted(ids)
        assert '"GET /health HTTP/1.1" 200' not in server.output.replace("Served by", "")


def test_a_killed_worker_breaks_no_store(tmp_path: Path) -> None:
    """After kill -9 of a worker in the middle of writes, the store is read and goes on."""
    deployment = _deployment(tmp_path)
    with serving("gunicorn", deployment) as server:
        for round in range(3):
            _ask(server, round * 100, round * 100 + 60)
            known = len(server.workers)
            os.kill(server.workers[-1], signal.SIGKILL)
            server.wait(lambda known=known: len(server.workers) > known, "start another worker")  # type: ignore[misc]
            ids = _ask(server, round * 100 + 60, round * 100 + 70)
            server.wait(
                lambda ids=ids: set(ids) <= {record.get("request_id") for record in _records(deployment)},  # type: ignore[misc]
                "store the records of the new worker",
            )


def test_a_process_writes_its_last_records_at_its_end(tmp_path: Path, each_engine: str) -> None:
    """A command that ends at once, before the thread has written anything, stores what it has run."""
    deployment = _deployment(tmp_path)
    assert deployment.command("run", "items:list_items").returncode == 0
    found = deployment.command_json("logs", "--function", "items:list_items")
    assert [record["kind"] for record in found] == ["function"]
