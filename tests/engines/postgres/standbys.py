"""A standby, which replicates another server until it is promoted."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.databases import PostgresServer
from tests.sqlite.crews import wait_until


class Standby(PostgresServer):
    """A server that replicates another one.

    Args:
        primary: The other server, which must be running.
    """

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(fsync="on")
        shutil.rmtree(self._data)
        program = str(self._program.parent / "pg_basebackup")
        options = ("--pgdata", str(self._data), "--dbname", primary.url(), "--write-recovery-conf", "--checkpoint=fast")
        subprocess.run([program, *options], cwd=self.folder, user=self._user, check=True)

    def promote(self) -> None:
        """Make this server accept writes."""
        assert self.run("SELECT pg_promote()") == [(True,)]


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[Standby]:
    """Yield a synchronous standby, which has every commit that the primary has acknowledged."""
    standby = Standby(primary)
    try:
        standby.start()
        wait_until(lambda: primary.run("SELECT state FROM pg_stat_replication") == [("streaming",)])
        primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.run("SELECT pg_reload_conf()")
        wait_until(lambda: primary.run("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        yield standby
    finally:
        standby.remove()


def url_of_both(primary: PostgresServer, standby: PostgresServer, url: str) -> str:
    """Return the URL of a database with both servers as hosts."""
    return url.replace(str(primary.folder), f"{primary.folder},{standby.folder}")
