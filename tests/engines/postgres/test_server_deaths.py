"""The PostgreSQL server dies under load, in every way there is, and comes back: the app goes on by itself.

SERVER_KILLS says how many times, CRASH_SEED repeats the random choices; the moments are the machine's.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.databases import PostgresServer
from tests.engines.postgres.books import faults, wait_until_all_has_ended
from tests.engines.postgres.deaths import DEATHS, mortal, start
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import Payer, paying
from tests.killing import seeded
from tests.sqlite.crews import wait_until

KILLS = int(os.environ.get("SERVER_KILLS", "3"))


def die_often(server: PostgresServer, payers: Sequence[Payer], random: Random) -> list[float]:
    """End the server again and again, once in each way before any of them twice; answers in how many seconds each
    client was served again after each return."""
    seconds = []
    for number in range(KILLS):
        if number % len(DEATHS) == 0:
            ways = random.sample(DEATHS, len(DEATHS))
        time.sleep(0.3 * random.random())
        ways[number % len(DEATHS)](server)
        time.sleep(random.choice((0, 0.3, 2)) * random.random())
        start(server)
        seconds.append(seconds_until_served(payers))
    return seconds


def seconds_until_served(payers: Sequence[Payer]) -> float:
    """How long it takes until each has had a payment made that it is told of from now on."""
    now = time.monotonic()
    wait_until(lambda: all(payer.moments and payer.moments[-1] > now for payer in payers))
    return time.monotonic() - now


def test_deaths_of_the_server_under_load(tmp_path: Path) -> None:
    """Whatever ends the server, and however often: no payment that was acknowledged is lost, none is made twice though
    its client sends it again until it is acknowledged; who cannot be served is told 503 and when to come back; and once
    the server is there again the same processes serve everyone, run what was scheduled, and fire the crons, each once.
    """
    random = seeded()
    with mortal() as server:
        deployment = Deployment(tmp_path, server.make())
        deployment.migrate()
        with serving(deployment, *HOSTS) as machines:
            workers = [machine.workers for machine in machines]
            with paying(machines, "client") as payers:
                seconds_until_served(payers)
                seconds = die_often(server, payers, random)
            wait_until_all_has_ended(deployment.url)
            ticks = deployment.ticks()
            wait_until(lambda: deployment.ticks() > ticks)
            assert [machine.workers for machine in machines] == workers
        acknowledged = [key for payer in payers for key in payer.acknowledged]
        longest = max(payer.longest for payer in payers)
        print(f"{KILLS} deaths, {len(acknowledged)} payments, of which one was answered after {longest:.1f} s")
        print(f"All were served again {max(seconds):.1f} s after the server's return at most")
        assert [fault for payer in payers for fault in payer.faults] == []
        assert faults(deployment.url, acknowledged) == []
