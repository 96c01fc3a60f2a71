"""The failover to a standby. The URL names both servers, and the app uses the one that takes writes."""

import time
from pathlib import Path

from tests.engines.postgres.audit import find_faults, select, wait_until_idle
from tests.engines.postgres.failures import durable_server, kill_all
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import paying
from tests.engines.postgres.standbys import standby_of, url_of_both
from tests.engines.postgres.test_connections import opened, pay
from tests.lengths import LONG
from tests.sqlite.crews import wait_until


@LONG
def test_standby_takes_over_under_load(tmp_path: Path) -> None:
    """The app serves clients from the promoted standby without a restart, and no acknowledged payment is lost."""
    with durable_server() as primary, standby_of(primary) as standby:
        deployment = Deployment(tmp_path, url_of_both(primary, standby, primary.make()))
        deployment.migrate()
        with serving(deployment, HOSTS[0]) as machines, paying(machines, "client") as payers:
            wait_until(lambda: all(payer.acknowledged for payer in payers))
            kill_all(primary)
            time.sleep(0.5)
            standby.promote()
            now = time.monotonic()
            wait_until(lambda: all(payer.moments[-1] > now for payer in payers))
            for payer in payers:
                payer.stop()
            for payer in payers:
                payer.join()
            wait_until_idle(deployment.url)
        assert [fault for payer in payers for fault in payer.faults] == []
        assert find_faults(deployment.url, [key for payer in payers for key in payer.acknowledged]) == []


@LONG
def test_primary_that_becomes_read_only(tmp_path: Path) -> None:
    """When the old server keeps its connections but takes no more writes, the writes go to the new one."""
    with durable_server() as primary, standby_of(primary) as standby:
        url = primary.make()
        with opened(tmp_path, url_of_both(primary, standby, url), write_timeout=2) as app:
            assert pay(app, "before").status_code == 200
            primary.run("ALTER SYSTEM SET default_transaction_read_only = on")
            primary.run("SELECT pg_reload_conf()")
            standby.promote()
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            moved = url.replace(str(primary.folder), str(standby.folder))
            assert select(moved, "SELECT key FROM payments WHERE key = 'after'") == [("after",)]
