"""A minimal Ceph cluster with an S3 gateway: a monitor, a store in memory and a gateway, on free local ports."""

import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path

from tests.ports import free_port

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_ACCESS_KEY, _SECRET_KEY = "convexaccess", "convexsecret"
#: The timeouts for a daemon to respond and to stop, in seconds.
_TIMEOUT = 60.0
_STOP_TIMEOUT = 5.0

# One replica of each object on one machine. Only S3 requests are authenticated.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{monitor}/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
# Changes are not gathered for a second: the gateway makes its pools one by one.
paxos_propose_interval = 0.01
paxos_min_wait = 0.01
mon_tick_interval = 1
# However full the disk of the tests is.
mon_data_avail_crit = 1
mon_data_avail_warn = 2
run_dir = {folder}
admin_socket =
log_file = {folder}/$name.log
keyring = {folder}/keyring
[mon]
mon_data = {folder}/mon
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
[client.rgw]
# Without it the gateway asks the monitor for a secret connection, which needs the passwords that are off.
ms_mon_client_mode = crc
rgw_frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw_data = {folder}
rgw_enable_usage_log = false
# What is deleted is gone from memory soon.
rgw_gc_obj_min_wait = 10
rgw_gc_processor_period = 10
"""


def is_installed() -> bool:
    """Return whether all programs are installed."""
    return all(shutil.which(program) for program in PROGRAMS)


def environment(endpoint: str) -> dict[str, str]:
    """Return the environment variables that AWS's tools and obstore read."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",  # the only region that boto3 accepts here
    }


def start(folder: Path) -> tuple[dict[str, str], Callable[[], None]]:
    """Start the cluster, and return the environment of its clients and a function that stops it."""
    cluster = _Cluster(folder)
    try:
        cluster.start()
    except BaseException:
        cluster.stop()
        raise
    return environment(cluster.endpoint), cluster.stop


class _Cluster:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fsid = str(uuid.uuid4())
        self._monitor, gateway = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{gateway}"
        for name in ("mon", "osd"):
            (folder / name).mkdir(parents=True)
        self._configuration = folder / "ceph.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(fsid=self._fsid, monitor=self._monitor, gateway=gateway, folder=folder)
        )
        self._daemons = ExitStack()

    def start(self) -> None:
        self._start_monitor()
        self._start_store()
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait_for_gateway()
        keys = f"--access-key={_ACCESS_KEY}", f"--secret-key={_SECRET_KEY}"
        self._run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=convex", "--display-name=convex", *keys)

    def stop(self) -> None:
        """Stop the daemons in reverse order."""
        self._daemons.close()

    def _start_monitor(self) -> None:
        keyring, monmap = str(self._folder / "keyring"), str(self._folder / "monmap")
        allowed = "--cap", "mon", "allow *", "--cap", "osd", "allow *"
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", *allowed)
        for name in ("client.admin", "client.rgw"):
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *allowed)
        address = f"[v2:127.0.0.1:{self._monitor}]"
        self._run("monmaptool", "--create", "--addv", "a", address, "--fsid", self._fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._daemon("ceph-mon", "-i", "a")

    def _start_store(self) -> None:
        identity = str(uuid.uuid4())
        self._run("ceph", "osd", "new", identity)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._daemon("ceph-osd", "-i", "0")

    def _wait_for_gateway(self) -> None:
        end = time.monotonic() + _TIMEOUT
        while True:
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return
            except (OSError, HTTPException):
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def _run(self, *command: str) -> None:
        subprocess.run(
            [*command, "-c", str(self._configuration)] if command[0] != "monmaptool" else command,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )

    def _daemon(self, *command: str) -> None:
        """Start a program in the foreground, as a child process that this process can stop."""
        process = subprocess.Popen([*command, "-f", "-c", str(self._configuration)], stdin=subprocess.DEVNULL)
        self._daemons.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT)
    process.kill()
    process.wait()
