"""Many clients at once, and a worker that dies among them: what was acknowledged is there, once."""

import http.client
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event

import pytest

from example_app.schema import Item, Payment, WebhookRecord
from tests.example.application import STRIPE_SECRET
from tests.example.deliveries import checkout_completed, from_stripe
from tests.processes.servers import KINDS, PATIENCE, Answer, Deployment, Server, ask, serving

CLIENTS = 8
ITEMS = 50

either = pytest.mark.parametrize("kind", KINDS)


def at_once(client: Callable[[int], list[str]]) -> list[list[str]]:
    """Run all clients at the same time and answer what each got."""
    barrier = Barrier(CLIENTS)

    def start(number: int) -> list[str]:
        barrier.wait(PATIENCE)
        return client(number)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(start, range(CLIENTS)))


@either
def test_no_item_of_many_clients_is_lost(kind: str, tmp_path: Path) -> None:
    """Eight clients make fifty items each, at once: no request fails and every item is there."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:

        def client(number: int) -> list[str]:
            with closing(server.connect()) as connection:
                answers = [ask(connection, "POST", "/api/items", {"name": f"{number}/{item}"}) for item in range(ITEMS)]
            assert {answer.status for answer in answers} == {201}
            return [answer.json["_id"] for answer in answers]

        acknowledged = [item_id for ids in at_once(client) for item_id in ids]
    stored = deployment.rows(Item)
    assert sorted(item.id for item in stored) == sorted(acknowledged)
    assert {item.name for item in stored} == {f"{number}/{item}" for number in range(CLIENTS) for item in range(ITEMS)}


@either
def test_event_delivered_many_times_at_once_has_one_effect(kind: str, tmp_path: Path) -> None:
    """Eight deliveries of one event at once are all answered OK and are one payment and one record."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    delivery = from_stripe(checkout_completed(), STRIPE_SECRET)
    with serving(kind, deployment) as server:
        answers = at_once(lambda number: [server.deliver(delivery).body.decode()])
    assert answers == [["OK"]] * CLIENTS
    assert len(deployment.rows(Payment)) == 1
    assert [record.status for record in deployment.rows(WebhookRecord)] == ["processed"]


def test_acknowledged_items_outlive_a_killed_worker(tmp_path: Path) -> None:
    """A worker is killed while clients write: what was acknowledged is there, once, and a new worker takes over."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving("gunicorn", deployment) as server:
        server.wait(lambda: len(server.workers) == 2, "start both workers")
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
    connection, item = server.connect(), 0
    while left:
        item += 1
        left -= restarted.is_set()
        try:
            answer: Answer = ask(connection, "POST", "/api/items", {"name": f"{number}/{item}"})
        except (OSError, http.client.HTTPException):
            connection.close()
            continue
        assert answer.status == 201, answer
        acknowledged.append(answer.json["_id"])
        if len(acknowledged) == 5:
            under_way.set()
    connection.close()
    return acknowledged
