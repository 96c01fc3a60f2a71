"""Concurrent clients and a killed worker: every acknowledged write is stored exactly once.

Each request has its own connection, because clients with persistent connections might all share one worker.
"""

import http.client
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

from example_app.schema import Item, Payment, WebhookRecord
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.deliveries import checkout_completed, from_stripe
from tests.lengths import LONG
from tests.processes.servers import TIMEOUT, Deployment, Server, each_kind, each_production_kind, serving

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

CLIENTS = 8
ITEMS = 50
EVENTS = 25


def run_concurrently(client: Callable[[int], list[str]]) -> list[list[str]]:
    """Run all clients concurrently and return their results."""
    barrier = Barrier(CLIENTS)

    def start(number: int) -> list[str]:
        barrier.wait(TIMEOUT)
        return client(number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(start, range(CLIENTS)))


def wait_for_workers(server: Server, kind: str) -> None:
    """Wait until both workers serve requests.

    One worker alone has no conflicts, and a client cannot connect if it is killed.
    """
    if kind == "granian":
        server.wait(lambda: server.output.count("Started worker-") == 2, "start both workers")
    if kind == "gunicorn":
        server.wait(
            lambda: run_concurrently(health_client(server)) and len(server.busy_workers) == 2, "use both workers"
        )


def health_client(server: Server) -> Callable[[int], list[str]]:
    """Return a client that requests /health."""
    return lambda number: [str(server.request("GET", "/health").status)]


@LONG
@each_kind
def test_no_item_of_concurrent_clients_is_lost(kind: str, tmp_path: Path) -> None:
    """Eight concurrent clients create fifty items each; no request fails, and every item is stored."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        wait_for_workers(server, kind)

        def client(number: int) -> list[str]:
            responses = [server.request("POST", "/api/items", {"name": f"{number}/{item}"}) for item in range(ITEMS)]
            assert {response.status for response in responses} == {201}
            return [response.json["_id"] for response in responses]

        acknowledged = [item_id for ids in run_concurrently(client) for item_id in ids]
    stored = deployment.rows(Item)
    assert sorted(item.id for item in stored) == sorted(acknowledged)
    assert {item.name for item in stored} == {f"{number}/{item}" for number in range(CLIENTS) for item in range(ITEMS)}


@each_kind
def test_concurrent_deliveries_of_one_event_have_one_effect(kind: str, tmp_path: Path) -> None:
    """Eight concurrent clients deliver the same events; each delivery is accepted, and each event runs once."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    deliveries = [from_stripe(checkout_completed(f"evt_{number}", id=f"cs_{number}")) for number in range(EVENTS)]
    with serving(kind, deployment) as server:
        wait_for_workers(server, kind)

        def client(number: int) -> list[str]:
            responses = [server.deliver(delivery) for delivery in deliveries]
            return [f"{response.status} {response.body.decode()}" for response in responses]

        responses = run_concurrently(client)
    assert responses == [["200 OK"] * EVENTS] * CLIENTS
    assert sorted(payment.session_id for payment in deployment.rows(Payment)) == sorted(
        f"cs_{n}" for n in range(EVENTS)
    )
    assert [record.status for record in deployment.rows(WebhookRecord)] == ["processed"] * EVENTS


@LONG
@each_production_kind
def test_acknowledged_items_outlive_a_killed_worker(kind: str, tmp_path: Path) -> None:
    """When a worker is killed while clients write, acknowledged items are stored once and a new worker starts."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        wait_for_workers(server, kind)
        under_way, restarted = Event(), Event()

        def client(number: int) -> list[str]:
            if number == 0:
                return kill_a_worker(server, under_way, restarted)
            return keep_creating(server, number, under_way, restarted)

        acknowledged = [item_id for ids in run_concurrently(client) for item_id in ids]
        for _ in range(6):
            assert server.request("GET", "/api/items").status == 200
    assert len(acknowledged) >= ITEMS
    stored = deployment.rows(Item)
    assert set(acknowledged) <= {item.id for item in stored}
    # Each name was sent once, so that two items of one name are a request that was applied twice.
    assert len({item.name for item in stored}) == len(stored)


def kill_a_worker(server: Server, under_way: Event, restarted: Event) -> list[str]:
    """Kill a worker while the others write, and wait until the server has started another."""
    try:
        assert under_way.wait(TIMEOUT)
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait(lambda: len(server.workers) == 3, "start another worker")
    finally:
        restarted.set()
    return []


def keep_creating(server: Server, number: int, under_way: Event, restarted: Event) -> list[str]:
    """Create items until a while after the new worker has started; a request that broke off was not acknowledged."""
    acknowledged: list[str] = []
    left = ITEMS
    item = 0
    while left:
        item += 1
        left -= restarted.is_set()
        try:
            response = server.request("POST", "/api/items", {"name": f"{number}/{item}"})
        except (OSError, http.client.HTTPException):
            continue
        assert response.status == 201, response
        acknowledged.append(response.json["_id"])
        if len(acknowledged) == 5:
            under_way.set()
    return acknowledged
