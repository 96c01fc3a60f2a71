"""A real S3 for the tests: a Ceph gateway where it is installed, moto's server otherwise; one for a whole run.

Ceph checks signatures, moto does not. Debian has it in ceph-mon, ceph-osd and radosgw; with CI set it has to be there.
The server is a program of its own (`python -m tests.s3 FOLDER PID`), which ends when the run does, killed or not.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests import ceph

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "convex"
#: Seconds a server may take to start.
_PATIENCE = 90.0
#: Says that the environment names a server already: in a process that a test has started.
_KIND = "CONVEX_TESTS_S3"


def kind() -> str:
    """Which server the tests use.

    Raises:
        RuntimeError: CI is set, but Ceph is not there.
    """
    if ceph.is_installed():
        return "ceph"
    if os.environ.get("CI"):
        raise RuntimeError("S3 is tested on Ceph: install ceph-mon, ceph-osd and radosgw (CI is set)")
    return "moto"


def described() -> str:
    """Which server the tests use, for people."""
    if ceph.is_installed():
        return "S3: a Ceph gateway"
    return "S3: moto's server, which takes any signature; Ceph needs ceph-mon, ceph-osd and radosgw"


def use_server() -> None:
    """Have the environment name a server with a bucket; it is started if nobody in this run has."""
    if _KIND not in os.environ:
        os.environ.update({_KIND: kind(), **json.loads(_started().read_text())})


def url(folder: Path) -> str:
    """What CONVEX_STORAGE_URL may be, another one for each folder, and the same in each process."""
    use_server()
    return f"s3://{BUCKET}{folder}/deep"


def _started() -> Path:
    """The file with the environment, written when the server answers."""
    in_crew = "PYTEST_XDIST_WORKER" in os.environ
    run = os.environ["PYTEST_XDIST_TESTRUNUID"] if in_crew else str(os.getpid())
    folder = Path(tempfile.gettempdir(), f"convex-s3-{run}")
    folder.mkdir(exist_ok=True)
    ready = folder / "environment.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _start(folder, ready, os.getppid() if in_crew else os.getpid())
    return ready


def _start(folder: Path, ready: Path, user: int) -> None:
    command = [sys.executable, "-m", "tests.s3", str(folder), str(user)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    end = time.monotonic() + _PATIENCE
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"The S3 for the tests did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.05)
    server.returncode = 0  # it outlives this process, and nobody waits for it


# --- the program ---------------------------------------------------------------------------------------------------


def serve(folder: Path, user: int) -> None:
    """Serve until a process is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    environment, stop = ceph.start(folder / "ceph") if kind() == "ceph" else _moto()
    try:
        os.environ.update(environment)
        _make_bucket(environment["AWS_ENDPOINT_URL"])
        written = folder / "environment.part"
        written.write_text(json.dumps(environment))
        written.rename(folder / "environment.json")
        while _is_alive(user):
            time.sleep(0.3)
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)


def _moto() -> tuple[dict[str, str], Callable[[], None]]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return ceph.environment(f"http://{host}:{port}"), server.stop


def _make_bucket(endpoint: str) -> None:
    import boto3  # type: ignore[import-untyped]

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)


def _is_alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
