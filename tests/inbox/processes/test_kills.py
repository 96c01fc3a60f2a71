"""Kill -9 at random moments, again and again, of servers that receive webhooks, several copies of each at once; and of
the PostgreSQL that they share.

WEBHOOK_KILLS says how many times, CRASH_SEED repeats the random choices; the moments are the machine's.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from tests.databases import EACH_ENGINE, databases_from
from tests.engines.postgres.failures import FAILURES, durable_server, start
from tests.inbox.processes.crews import Nursery, Server, at_work
from tests.inbox.processes.customers import sending
from tests.inbox.processes.judge import cut_short, faults, not_done_once, unfinished
from tests.inbox.processes.servers import Deployment

KILLS = int(os.environ.get("WEBHOOK_KILLS", "8"))
#: Seconds until all that was accepted has ended, once nobody is killed any more.
PATIENCE = 60.0


def kill_often(servers: list[Server], random: Random) -> None:
    """Kill one after the other."""
    for _ in range(KILLS):
        time.sleep(random.choice((0.6, 0.1)) * random.random())
        kill_some(servers, random)


def kill_some(servers: list[Server], random: Random) -> None:
    """Kill a worker, a server or all at once; others take their places."""
    chance = random.random()
    if chance < 0.6:
        random.choice(servers).kill_worker(random)
        return
    victims = servers if chance < 0.8 else [random.choice(servers)]
    for server in victims:
        server.kill()
    for server in victims:
        server.restart()


def wait_until_all_has_ended(folder: Path) -> None:
    """Wait until no delivery and no scheduled function is unfinished."""
    end = time.monotonic() + PATIENCE
    while found := unfinished(folder):
        assert time.monotonic() < end, f"Stuck: {found[:5]}"
        time.sleep(0.05)


def receive_and_judge(folder: Path, sockets: Path, kill: Callable[[list[Server]], None]) -> None:
    """Receive deliveries while somebody kills, and look at what came of them."""
    deployment = Deployment(folder)
    deployment.migrate()
    with closing(Nursery(deployment.environment, folder / "log")) as nursery, at_work(nursery, sockets) as servers:
        with sending(servers, "customer") as customers:
            kill(servers)
        wait_until_all_has_ended(folder)
    acknowledged = {event for customer in customers for event in customer.acknowledged}
    print(f"{KILLS} kills, {len(acknowledged)} events, {cut_short(folder)} runs of handlers cut short")
    assert [fault for customer in customers for fault in customer.faults] == []
    assert all(customer.acknowledged for customer in customers)
    assert not_done_once(folder, acknowledged) == []
    assert faults(folder) == []


@EACH_ENGINE
def test_kills_lose_no_delivery_and_repeat_none(tmp_path: Path, sockets: Path, random: Random) -> None:
    """Whoever is killed and when, with several copies of each delivery at once, each sent until it is accepted: every
    copy is told the same, every event has each of its effects once and in its customer's order where that was asked
    for, and nothing is stuck."""
    receive_and_judge(tmp_path, sockets, lambda servers: kill_often(servers, random))


def test_kills_of_the_database_lose_no_delivery_and_repeat_none(tmp_path: Path, sockets: Path, random: Random) -> None:
    """The same where the database is killed, too, and comes back; the servers need not be started again for it."""
    with durable_server() as database, databases_from(database):

        def kill(servers: list[Server]) -> None:
            for number in range(KILLS // 2):
                time.sleep(random.choice((0.6, 0.1)) * random.random())
                if number % 2:
                    kill_some(servers, random)
                else:
                    random.choice(FAILURES)(database)
                    time.sleep(random.choice((0, 0.3)))
                    start(database)

        receive_and_judge(tmp_path, sockets, kill)
