"""A server that uses the database and then forks: each process goes on with connections of its own."""

from pathlib import Path

from tests.databases import PostgresServer
from tests.engines.postgres.books import faults, wait_until_all_has_ended
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import paying
from tests.sqlite.crews import wait_until


def test_server_that_has_used_the_app_before_it_forks(tmp_path: Path, postgres: PostgresServer) -> None:
    """gunicorn --preload with an app that has served a request already: its workers serve, each for itself."""
    deployment = Deployment(tmp_path, postgres.make())
    deployment.migrate()
    with serving(deployment, HOSTS[0], app="preloaded", options="--preload") as machines:
        with paying(machines, "client") as payers:
            wait_until(lambda: all(len(payer.acknowledged) >= 5 for payer in payers))
        wait_until_all_has_ended(deployment.url)
    assert [fault for payer in payers for fault in payer.faults] == []
    acknowledged = [key for payer in payers for key in payer.acknowledged]
    assert faults(deployment.url, ["before the fork", *acknowledged]) == []
