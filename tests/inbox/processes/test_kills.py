"""Kill -9 at random times of servers that receive simultaneous duplicates of webhooks, and of their PostgreSQL.

WEBHOOK_KILLS is the number of kills. CRASH_SEED repeats the random choices, but not their timing.
"""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, databases_from
from tests.engines.postgres.failures import FAILURES, durable_server, start
from tests.inbox.processes.crews import Nursery, Server, at_work, kill_some
from tests.inbox.processes.customers import sending
from tests.inbox.processes.judge import cut_short, faults, not_done_once, unfinished
from tests.inbox.processes.servers import Deployment
from tests.lengths import LONG, SAMPLED, repetitions

KILLS = repetitions("WEBHOOK_KILLS", sample=3, whole=20)
#: Seconds after the last kill within which all accepted work must end.
PATIENCE = 60.0


def kill_often(servers: list[Server], random: Random) -> None:
    """Kill one process after another."""
    for _ in range(KILLS):
        time.sleep(random.choice((0.6, 0.1)) * random.random())
        kill_some(servers, random)


def wait_until_all_has_ended(folder: Path) -> None:
    """Wait until no delivery and no scheduled function is unfinished."""
    end = time.monotonic() + PATIENCE
    while found := unfinished(folder):
        assert time.monotonic() < end, f"Stuck: {found[:5]}"
        time.sleep(0.05)


def receive_and_judge(folder: Path, sockets: Path, kill: Callable[[list[Server]], None]) -> None:
    """Receive deliveries during kills, and check the database."""
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


@SAMPLED
@SLOW_ON_POSTGRES
@EACH_ENGINE
def test_kills_lose_no_delivery_and_repeat_none(tmp_path: Path, sockets: Path, random: Random) -> None:
    """During kills, every duplicate gets the same response, every event has each effect once, and nothing is stuck.

    Each delivery is sent as simultaneous duplicates until it is accepted. A customer's events keep their order where
    the webhook asks for it.
    """
    receive_and_judge(tmp_path, sockets, lambda servers: kill_often(servers, random))


@LONG
def test_kills_of_the_database_lose_no_delivery_and_repeat_none(tmp_path: Path, sockets: Path, random: Random) -> None:
    """The same holds if the database is killed as well; the servers recover without a restart."""
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
