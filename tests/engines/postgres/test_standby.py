"""A standby takes the place of its server, of which the URL names both: the app goes on with it by itself."""

import time
from pathlib import Path

from tests.engines.postgres.books import faults, select, wait_until_all_has_ended
from tests.engines.postgres.deaths import kill_all, mortal
from tests.engines.postgres.machines import HOSTS, Deployment, serving
from tests.engines.postgres.payers import paying
from tests.engines.postgres.standbys import followed, url_of_both
from tests.engines.postgres.test_connections import opened, pay
from tests.sqlite.crews import wait_until


def test_standby_takes_over_under_load(tmp_path: Path) -> None:
    """When the server is killed and its standby promoted, nothing that was acknowledged is lost, clients are told to
    come back for as long as there is no server that takes writes, and then the same processes serve them."""
    with mortal() as primary, followed(primary) as standby:
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
            wait_until_all_has_ended(deployment.url)
        assert [fault for payer in payers for fault in payer.faults] == []
        assert faults(deployment.url, [key for payer in payers for key in payer.acknowledged]) == []


def test_old_server_that_goes_on_as_a_standby(tmp_path: Path) -> None:
    """When the old server stays, and cuts nobody off, but takes no more writes, they go to the new one."""
    with mortal() as primary, followed(primary) as standby:
        url = primary.make()
        with opened(tmp_path, url_of_both(primary, standby, url), write_timeout=2) as app:
            assert pay(app, "before").status_code == 200
            primary.run("ALTER SYSTEM SET default_transaction_read_only = on")
            primary.run("SELECT pg_reload_conf()")
            standby.promote()
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            moved = url.replace(str(primary.folder), str(standby.folder))
            assert select(moved, "SELECT key FROM payments WHERE key = 'after'") == [("after",)]
