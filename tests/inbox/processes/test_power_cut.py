"""Power cuts during deliveries: acknowledged deliveries survive, and all others are whole or absent.

A power cut keeps exactly the synced bytes, or these and a random part of the rest (`tests/crash`). WEBHOOK_KILLS is ten
times the number of cuts.
"""

import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from flask_convex_http.testing import run_scheduled
from tests.crash.crews import empty
from tests.crash.power import Disk
from tests.crash.programs import compiled
from tests.inbox.processes.crews import Nursery, at_work
from tests.inbox.processes.customers import Customer, sending
from tests.inbox.processes.judge import faults, lost, unfinished
from tests.inbox.processes.servers import Deployment
from tests.inbox.processes.shop import create_app
from tests.lengths import SAMPLED, repetitions
from tests.sqlite.crews import PATIENCE, wait_until

CUTS = max(1, repetitions("WEBHOOK_KILLS", sample=10, whole=40) // 10)


@pytest.fixture(name="shim", scope="module")
def _shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that keeps a copy of the synced bytes."""
    return compiled("keep_synced", tmp_path_factory.mktemp("shim"))


@SAMPLED
@pytest.mark.parametrize("cut", range(CUTS))
def test_power_cut(cut: int, shim: Path, tmp_path: Path, sockets: Path, random: Random) -> None:
    """After a crash and after a power cut, each acknowledged delivery exists with its effects or waits for its worker.

    Each other delivery exists with all its rows, or not at all. All waiting work can be done.
    """
    deployment = Deployment(empty(tmp_path / "disk"))
    deployment.migrate()
    disk = Disk(deployment.data, empty(sockets / "kept"), shim)
    environment = deployment.environment | disk.environment | {"FLASK_CONVEX_WORKER": "off"}
    with closing(Nursery(environment, tmp_path / "log")) as nursery:
        told = receive_until_the_cut(nursery, sockets, random)
    survivors = {
        "crash": disk.after_crash(sockets / "crash"),
        "power cut": disk.after_power_cut(sockets / "cut"),
        "torn power cut": disk.after_torn_power_cut(sockets / "torn", random),
    }
    wrong = [f"{name}: {problem}" for name, folder in survivors.items() for problem in judged(folder, told)]
    assert wrong == []


def receive_until_the_cut(nursery: Nursery, sockets: Path, random: Random) -> set[str]:
    """Receive deliveries until all servers die at once, and return the events of which a duplicate was accepted."""
    with at_work(nursery, sockets) as servers, sending(servers, "customer") as customers:
        enough = random.randint(1, 40)
        wait_until(lambda: len(acknowledged(customers)) >= enough or any(customer.faults for customer in customers))
        time.sleep(0.02 * random.random())
        for server in servers:
            server.kill()
        for customer in customers:
            customer.give_up()
    assert [fault for customer in customers for fault in customer.faults] == []
    return acknowledged(customers)


def acknowledged(customers: list[Customer]) -> set[str]:
    """Return the events of which a duplicate is accepted so far."""
    return {event for customer in customers for event in list(customer.acknowledged)}


def judged(folder: Path, told: set[str]) -> list[str]:
    """Return the faults of a database, before and after its waiting work is done."""
    missing = sorted(lost(folder, told))
    return [f"{missing} are lost"] * bool(missing) + (faults(folder) or finish(folder) or faults(folder))


def finish(folder: Path) -> list[str]:
    """Run the waiting work until none is left, and return the unfinished rest."""
    app = create_app(folder, TESTING=True)
    end = time.monotonic() + PATIENCE
    with closing(app.extensions["convex_http"]):
        while (left := unfinished(folder)) and time.monotonic() < end:
            run_scheduled(app)
    return left
