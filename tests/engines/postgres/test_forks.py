"""A server that uses the database and then forks. Each process opens connections of its own."""

from pathlib import Path

from tests.databases import PostgresServer
from tests.engines.postgres.audit import find_faults, wait_until_idle
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import paying
from tests.lengths import LONG
from tests.sqlite.crews import wait_until


@LONG
def test_server_that_uses_the_database_before_it_forks(tmp_path: Path, postgres: PostgresServer) -> None:
    """The workers of gunicorn --preload serve requests, though the app has served one before the fork."""
    deployment = Deployment(tmp_path, postgres.make())
    deployment.migrate()
    with serving(deployment, HOSTS[0], app="preloaded", options="--preload") as machines:
        with paying(machines, "client") as payers:
            wait_until(lambda: all(len(payer.acknowledged) >= 5 for payer in payers))
        wait_until_idle(deployment.url)
    assert [fault for payer in payers for fault in payer.faults] == []
    acknowledged = [key for payer in payers for key in payer.acknowledged]
    assert find_faults(deployment.url, ["before the fork", *acknowledged]) == []
