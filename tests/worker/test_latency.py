"""The time between the due time of a job and its start, and the cost of an idle worker."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.lengths import LONG, SAMPLED, repetitions
from tests.processes.servers import Server
from tests.sqlite.crews import wait_until
from tests.worker import app as served
from tests.worker.servers import Deployment, served_by, serving, worker_process

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: Milliseconds within which a woken worker starts a job. One that only polls would take 2.5 seconds on average.
#: `benchmarks/jobs.py` measures the actual delay.
WOKEN_MS = 1000.0
SAMPLES = 20
#: The seconds of the measurement.
IDLE_SECONDS = repetitions("IDLE_SECONDS", sample=2, whole=4)
#: The delays of a job in seconds.
DELAYS = pytest.mark.parametrize("delay", [0.0, pytest.param(0.13, marks=LONG)], ids=["at once", "later"])


def lateness(server: Server, deployment: Deployment, delay: float) -> float:
    """Return the median of the milliseconds by which jobs of requests start late, one after another."""
    before = len(deployment.notes)
    for number in range(SAMPLES):
        assert server.request("POST", f"/lateness/{delay}").status == 201
        wait_until(lambda count=before + number + 1: len(deployment.notes) == count)  # type: ignore[misc]  # bound now
    late = [float(note) for note in deployment.notes[before:]]
    assert min(late) >= 0, "A job started before its time"
    return statistics.median(late)


def is_woken(measure: Callable[[], float]) -> bool:
    """Return whether the worker was woken in one of three measurements, since the machine may be busy."""
    return any(measure() < WOKEN_MS for _ in range(3))


@DELAYS
@served_by("flask", "gunicorn, our settings", long=("gunicorn, our settings",))
def test_in_the_serving_process(kind: str, delay: float, tmp_path: Path) -> None:
    """A request that schedules a job wakes the worker of the serving process."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        assert is_woken(lambda: lateness(server, deployment, delay))


@LONG
@DELAYS
def test_in_a_worker_process(delay: float, tmp_path: Path) -> None:
    """A request that schedules a job wakes a separate worker process."""
    deployment = Deployment(tmp_path, worker="off")
    deployment.migrate()
    with worker_process(deployment), serving("flask", deployment) as server:
        assert is_woken(lambda: lateness(server, deployment, delay))


class Usage(NamedTuple):
    """The resources that a process has used.

    Attributes:
        processor_seconds: Seconds of processor time.
        switches: The voluntary context switches of its threads.
        reads: The system calls that read.
    """

    processor_seconds: float
    switches: int
    reads: int

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Return the resources that a process has used so far."""
        folder = Path(f"/proc/{pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        switches = sum(_value(task / "status", "voluntary_ctxt_switches") for task in (folder / "task").iterdir())
        return cls(ticks / os.sysconf("SC_CLK_TCK"), switches, _value(folder / "io", "syscr"))


def _value(path: Path, name: str) -> int:
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[name])


def usage_when_idle(pid: int) -> Usage:
    """Return the resources that a process uses while it has no work."""
    time.sleep(1.0)  # until it has started
    before = Usage.of(pid)
    time.sleep(IDLE_SECONDS)
    after = Usage.of(pid)
    processor_seconds, switches, reads = (second - first for first, second in zip(before, after, strict=True))
    return Usage(processor_seconds, int(switches), int(reads))


@SAMPLED
def test_an_idle_worker_sleeps(tmp_path: Path) -> None:
    """An idle worker does not poll for the time of the next job.

    In some seconds it wakes up a few times and uses almost no processor time.
    """
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with deployment.backend() as backend:
        backend.ctx().scheduler.run_after(3600, served.write, text="later")
    with worker_process(deployment) as pid:
        # A worker that polls does so in each of the measurements. The heartbeat of each ten seconds falls into every
        # second one, and the cleanup of each minute into one.
        used = [usage_when_idle(pid)]
        while not is_asleep(used[-1]) and len(used) < 6:
            used.append(usage_when_idle(pid))
    assert is_asleep(used[-1]), used
    assert deployment.notes == []


def is_asleep(used: Usage) -> bool:
    """Return whether a process has done next to nothing.

    The thread of the time limit looks up once a second for a minute after a mutation, with two or three switches. A
    worker without a listener naps ten times a second.
    """
    return used.processor_seconds <= 0.1 and used.switches < 5 * IDLE_SECONDS and used.reads < 20 * IDLE_SECONDS
