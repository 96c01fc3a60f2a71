"""Two machines with one database. Each has an address and processes, and clients use either."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from flask_convex_http import Document
from flask_convex_http.schema.system_tables import CronRun, ScheduledFunction
from tests.databases import PostgresServer
from tests.engines.postgres.audit import find_faults, wait_until_idle
from tests.engines.postgres.bank import TOKENS, Parcel, Receipt, Tick
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import paying
from tests.inbox.processes.senders import together
from tests.lengths import LONG
from tests.processes.servers import Server
from tests.sqlite.crews import wait_until

D = TypeVar("D", bound=Document)

#: Seconds that an action takes whose machine is killed while it runs.
FOREVER = 600


class Pair:
    """Two machines that serve one deployment.

    Attributes:
        machines: The machines.
        deployment: The deployment.
    """

    def __init__(self, machines: list[Server], deployment: Deployment) -> None:
        self.machines = machines
        self.deployment = deployment

    def machine_of(self, process: int) -> Server:
        """Return the machine of a process."""
        [machine] = [machine for machine in self.machines if process in machine.workers]
        return machine

    def rows(self, document: type[D]) -> list[D]:
        """Return all documents of a table, oldest first."""
        return self.deployment.rows(document)


def new_pair(folder: Path, postgres: PostgresServer) -> Iterator[Pair]:
    """Start two machines."""
    deployment = Deployment(folder, postgres.make())
    deployment.migrate()
    with serving(deployment, *HOSTS) as machines:
        yield Pair(machines, deployment)


@pytest.fixture(name="pair", scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Pair]:
    """Yield two machines, for tests that do not stop them."""
    yield from new_pair(tmp_path_factory.mktemp("bank"), postgres)


@pytest.fixture(name="doomed")
def _doomed(tmp_path: Path, postgres: PostgresServer) -> Iterator[Pair]:
    """Yield two machines, for a test that kills one."""
    yield from new_pair(tmp_path, postgres)


def test_jobs_run_once_on_either_machine(pair: Pair) -> None:
    """Each job runs once, on either machine, and no payment into an account is lost among concurrent ones."""
    with paying(pair.machines, "either") as payers:
        wait_until(lambda: len({pair.machine_of(row.process).host for row in pair.rows(Receipt)}) == 2)
    wait_until_idle(pair.deployment.url)
    assert [fault for payer in payers for fault in payer.faults] == []
    assert find_faults(pair.deployment.url, [key for payer in payers for key in payer.acknowledged]) == []


@LONG
def test_crons_fire_once_a_tick(pair: Pair) -> None:
    """Each tick of a cron that both machines have fires once and runs once."""
    before = len(pair.rows(CronRun))
    wait_until(lambda: len(pair.rows(CronRun)) >= before + 3)
    fired = [run.tick for run in pair.rows(CronRun)]
    wait_until(lambda: len(pair.rows(Tick)) >= len(fired))
    assert len(set(fired)) == len(fired)
    runs, ticks = pair.rows(CronRun), pair.rows(Tick)  # before the jobs: the next tick may fire at any time
    jobs = {job.id for job in pair.rows(ScheduledFunction) if job.name == "bank:tick"}
    assert {run.job for run in runs} <= jobs
    assert len(ticks) <= len(jobs)


def test_rate_limit_holds_for_both_machines(pair: Pair) -> None:
    """Concurrent requests to both machines, twice as many as there are tokens, get each token once."""
    responses = together(2 * TOKENS, lambda number: pair.machines[number % 2].request("POST", "/tokens/client"))
    assert Counter(response.status for response in responses) == {200: TOKENS, 429: TOKENS}
    assert all(int(response.headers["retry-after"]) > 0 for response in responses if response.status == 429)


@LONG
def test_api_key_of_one_machine_is_valid_on_the_other(pair: Pair) -> None:
    """A key that one machine creates is valid on the other at once, and invalid on both once the other revokes it."""
    one, other = pair.machines
    made = one.request("POST", "/keys/client").json
    headers = {"X-API-Key": made["key"]}
    for _ in range(4):  # each of its workers
        assert other.request("GET", "/vault", headers=headers).status == 200
    assert one.request("GET", "/vault", headers=headers).status == 200
    assert other.request("DELETE", f"/keys/{made['id']}").status == 200
    assert {one.request("GET", "/vault", headers=headers).status for _ in range(4)} == {403}


@LONG
def test_action_of_a_killed_machine_is_retried_on_the_other(doomed: Pair) -> None:
    """When the machine that runs an action is killed, the other one records the attempt as lost and makes the next."""
    assert doomed.machines[0].request("POST", f"/parcels/present?takes={FOREVER}").status == 200
    wait_until(lambda: doomed.rows(Parcel) != [])
    [begun] = doomed.rows(Parcel)
    victim = doomed.machine_of(begun.process)
    victim.kill()
    doomed.machines.remove(victim)
    wait_until(lambda: any(job.state == "success" for job in parcels(doomed)))
    [job] = parcels(doomed)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "success"]
    done = [(row.key, row.attempt, row.process in doomed.machines[0].workers) for row in doomed.rows(Parcel)]
    assert done == [("present begun", 1, False), ("present begun", 2, True), ("present sent", 2, True)]


def parcels(pair: Pair) -> list[ScheduledFunction]:
    """Return the jobs that are actions."""
    return [job for job in pair.rows(ScheduledFunction) if job.kind == "action"]
