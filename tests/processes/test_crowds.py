"""Many clients at once, and a worker that dies among them: what was acknowledged is there, once.

Each request has a connection of its own: those of clients that keep theirs may all end up with one worker.
"""

import http.client
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

from example_app.schema import Item, Payment, WebhookRecord
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.example.deliveries import checkout_completed, from_stripe
from tests.processes.servers import KINDS, PATIENCE, Deployment, Server, serving

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

CLIENTS = 8
ITEMS = 50
EVENTS = 25

either = pytest.mark.parametrize("kind", KINDS)


def at_once(client: Callable[[int], list[str]]) -> list[list[str]]:
    """Run all clients at the same time and answer what each got."""
    barrier = Barrier(CLIENTS)

    def start(number: int) -> list[str]:
        barrier.wait(PATIENCE)
        return client(number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(start, range(CLIENTS)))


def await_workers(server: Server, kind: str) -> None:
    """Wait until both of gunicorn's workers answer; one alone would have nobody to collide with."""
    if kind == "gunicorn":
        server.wait(lambda: at_once(greet(server)) and len(server.busy_workers) == 2, "use both workers")


def greet(server: Server) -> Callable[[int], list[str]]:
    """A client that asks whether the server is well."""
    return lambda number: [str(server.request("GET", "/health").status)]


@either
def test_no_item_of_many_clients_is_lost(kind: str, tmp_path: Path) -> None:
    """Eight clients make fifty items each, at once: no request fails and every item is there."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        await_workers(server, kind)

        def client(number: int) -> list[str]:
            answers = [server.request("POST", "/api/items", {"name": f"{number}/{item}"}) for item in range(ITEMS)]
            assert {answer.status for answer in answers} == {201}
            return [answer.json["_id"] for answer in answers]

        acknowledged = [item_id for ids in at_once(client) for item_id in ids]
    stored = deployment.rows(Item)
    assert sorted(item.id for item in stored) == sorted(acknowledged)
    assert {item.name for item in stored} == {f"{number}/{item}" for number in range(CLIENTS) for item in range(ITEMS)}


@either
def test_event_delivered_many_times_at_once_has_one_effect(kind: str, tmp_path: Path) -> None:
    """Eight clients deliver the same events at once: each is always answered OK and is one payment, one record."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    deliveries = [from_stripe(checkout_completed(f"evt_{number}", id=f"cs_{number}")) for number in range(EVENTS)]
    with serving(kind, deployment) as server:
        await_workers(server, kind)

        def client(number: int) -> list[str]:
            answers = [server.deliver(delivery) for delivery in deliveries]
            return [f"{answer.status} {answer.body.decode()}" for answer in answers]

        answers = at_once(client)
    assert answers == [["200 OK"] * EVENTS] * CLIENTS
    assert sorted(payment.session_id for payment in deployment.rows(Payment)) == sorted(
        f"cs_{n}" for n in range(EVENTS)
    )
    assert [record.status for record in deployment.rows(WebhookRecord)] == ["processed"] * EVENTS


def test_acknowledged_items_outlive_a_killed_worker(tmp_path: Path) -> None:
    """A worker is killed while clients write: what was acknowledged is there, once, and a new worker takes over."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("gunicorn", deployment) as server:
        await_workers(server, "gunicorn")
        under_way, restarted = Event(), Event()

        def client(number: int) -> list[str]:
            if number == 0:
                return kill_a_worker(server, under_way, restarted)
            return keep_creating(server, number, under_way, restarted)

        acknowledged = [item_id for ids in at_once(client) for item_id in ids]
        for _ in range(6):
            assert server.request("GET", "/api/items").status == 200
    assert len(acknowledged) >= ITEMS
    stored = deployment.rows(Item)
    assert set(acknowledged) <= {item.id for item in stored}
    # Each name was sent once, so one that is there twice was written twice.
    assert len({item.name for item in stored}) == len(stored)


def kill_a_worker(server: Server, under_way: Event, restarted: Event) -> list[str]:
    """End a worker without warning when the others are at it, and wait until another has taken its place."""
    try:
        assert under_way.wait(PATIENCE)
        os.kill(server.workers[0], signal.SIGKILL)
        server.wait(lambda: len(server.workers) == 3, "start another worker")
    finally:
        restarted.set()
    return []


def keep_creating(server: Server, number: int, under_way: Event, restarted: Event) -> list[str]:
    """Create items until a while after the new worker is there; what broke off on the way was not acknowledged."""
    acknowledged: list[str] = []
    left = ITEMS
    item = 0
    while left:
        item += 1
        left -= restarted.is_set()
        try:
            answer = server.request("POST", "/api/items", {"name": f"{number}/{item}"})
        except (OSError, http.client.HTTPException):
            continue
        assert answer.status == 201, answer
        acknowledged.append(answer.json["_id"])
        if len(acknowledged) == 5:
            under_way.set()
    return acknowledged
