"""Failures of the PostgreSQL server under load, from which the app recovers by itself.

SERVER_KILLS is the number of failures. CRASH_SEED repeats the random choices, but not the timing.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.databases import PostgresServer
from tests.engines.postgres.audit import find_faults, wait_until_idle
from tests.engines.postgres.failures import FAILURES, durable_server, start
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import Payer, paying
from tests.killing import seeded_random
from tests.lengths import LONG, repetitions
from tests.sqlite.crews import wait_until

KILLS = repetitions("SERVER_KILLS", sample=1, whole=8)


def fail_often(server: PostgresServer, payers: Sequence[Payer], random: Random) -> list[float]:
    """Make the server fail, in each way once before any way twice.

    Returns:
        For each failure the seconds from the start of the server until all clients were served again.
    """
    seconds = []
    for number in range(KILLS):
        if number % len(FAILURES) == 0:
            ways = random.sample(FAILURES, len(FAILURES))
        time.sleep(0.3 * random.random())
        ways[number % len(FAILURES)](server)
        time.sleep(random.choice((0, 0.3, 2)) * random.random())
        start(server)
        seconds.append(seconds_until_served(payers))
    return seconds


def seconds_until_served(payers: Sequence[Payer]) -> float:
    """Return the seconds until each payer has had a success from now on."""
    now = time.monotonic()
    wait_until(lambda: all(payer.moments and payer.moments[-1] > now for payer in payers))
    return time.monotonic() - now


@LONG
def test_failures_of_the_server_under_load(tmp_path: Path) -> None:
    """The app recovers from each failure of the server without a restart.

    No acknowledged payment is lost, and none is made twice though clients repeat them. Clients get 503 with Retry-After
    while the server is down. Afterwards jobs run once and ticks fire once.
    """
    random = seeded_random()
    with durable_server() as server:
        deployment = Deployment(tmp_path, server.make())
        deployment.migrate()
        with serving(deployment, *HOSTS) as machines:
            workers = [machine.workers for machine in machines]
            with paying(machines, "client") as payers:
                seconds_until_served(payers)
                seconds = fail_often(server, payers, random)
            wait_until_idle(deployment.url)
            ticks = deployment.ticks()
            wait_until(lambda: deployment.ticks() > ticks)
            assert [machine.workers for machine in machines] == workers
        acknowledged = [key for payer in payers for key in payer.acknowledged]
        longest = max(payer.longest for payer in payers)
        print(f"{KILLS} failures, {len(acknowledged)} payments, longest response time {longest:.1f} s")
        print(f"All clients were served again at most {max(seconds):.1f} s after the server started")
        assert [fault for payer in payers for fault in payer.faults] == []
        assert find_faults(deployment.url, acknowledged) == []
