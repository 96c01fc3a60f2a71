"""An S3 server for one test run: a Ceph gateway where Ceph is installed, moto's server otherwise.

Ceph checks signatures, and moto does not. Debian's packages are ceph-mon, ceph-osd and radosgw, and with CI set they
are required. The server is a separate program (`python -m tests.s3 FOLDER PID`), which stops when the test run ends or
is killed.
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
from tests.child_processes import ROOT

BUCKET = "convex"
#: The timeout for a server to start, in seconds.
_START_TIMEOUT = 90.0
#: The variable that is set when the environment names a server, also in processes that a test starts.
_KIND = "CONVEX_TESTS_S3"


def kind() -> str:
    """Return the server that the tests use, "ceph" or "moto".

    Raises:
        RuntimeError: CI is set and Ceph is not installed.
    """
    if ceph.is_installed():
        return "ceph"
    if os.environ.get("CI"):
        raise RuntimeError("S3 is tested on Ceph: install ceph-mon, ceph-osd and radosgw (CI is set)")
    return "moto"


def describe() -> str:
    """Return a description of the server for the test report."""
    if ceph.is_installed():
        return "S3: a Ceph gateway"
    return "S3: moto's server, which takes any signature; Ceph needs ceph-mon, ceph-osd and radosgw"


def use_server() -> None:
    """Set the environment to a server with a bucket, and start the server if this run has none."""
    if _KIND not in os.environ:
        os.environ.update({_KIND: kind(), **json.loads(_environment_file().read_text())})


def url(folder: Path) -> str:
    """Return a value for CONVEX_STORAGE_URL that depends on the folder only, in every process."""
    use_server()
    return f"s3://{BUCKET}{folder}/deep"


def _environment_file() -> Path:
    """Return the file with the environment of a started server."""
    in_xdist = "PYTEST_XDIST_WORKER" in os.environ
    run = os.environ["PYTEST_XDIST_TESTRUNUID"] if in_xdist else str(os.getpid())
    folder = Path(tempfile.gettempdir(), f"convex-s3-{run}")
    folder.mkdir(exist_ok=True)
    ready = folder / "environment.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _start(folder, ready, os.getppid() if in_xdist else os.getpid())
    return ready


def _start(folder: Path, ready: Path, user: int) -> None:
    command = [sys.executable, "-m", "tests.s3", str(folder), str(user)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    end = time.monotonic() + _START_TIMEOUT
    while not ready.exists():
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"The S3 for the tests did not start:\n{(folder / 'log').read_text()}")
        time.sleep(0.05)
    server.returncode = 0  # the server outlives this process, so suppress the warning about a running child


# --- the server's program -------------------------------------------------------------------------------------------


def serve(folder: Path, user: int) -> None:
    """Run the server until a process has ended."""
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
