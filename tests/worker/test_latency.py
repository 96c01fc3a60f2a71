"""How soon what is due begins when nobody has anything to do, and what that costs meanwhile: nothing is asked for."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.processes.servers import Server
from tests.sqlite.crews import wait_until
from tests.worker import app as served
from tests.worker.servers import Deployment, served_by, serving, working_apart

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

#: Milliseconds after its time in which what is due begins.
PROMISED = 50.0
SAMPLES = 20
#: Seconds of idling that are looked at.
IDLE = 4.0


def lateness(server: Server, deployment: Deployment, delay: float) -> float:
    """How many milliseconds late things begin that requests schedule, one after another: half of them are sooner."""
    before = len(deployment.notes)
    for number in range(SAMPLES):
        assert server.request("POST", f"/lateness/{delay}").status == 201
        wait_until(lambda count=before + number + 1: len(deployment.notes) == count)  # type: ignore[misc]  # bound now
    late = [float(note) for note in deployment.notes[before:]]
    assert min(late) >= 0, "Something began before its time"
    return statistics.median(late)


def is_kept(measure: Callable[[], float]) -> bool:
    """Whether the promise is kept; measured again if the machine was busy with something else."""
    return any(measure() < PROMISED for _ in range(3))


@pytest.mark.parametrize("delay", [0.0, 0.13], ids=["at once", "later"])
@served_by("flask", "gunicorn, our settings")
def test_in_the_serving_process(kind: str, delay: float, tmp_path: Path) -> None:
    """What a request schedules begins within 50 ms of its time, on the thread of the process that serves."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        assert is_kept(lambda: lateness(server, deployment, delay))


@pytest.mark.parametrize("delay", [0.0, 0.13], ids=["at once", "later"])
def test_in_a_worker_apart(delay: float, tmp_path: Path) -> None:
    """What a request schedules begins within 50 ms of its time in a worker that is another process, too."""
    deployment = Deployment(tmp_path, worker="off")
    deployment.migrate()
    with working_apart(deployment), serving("flask", deployment) as server:
        assert is_kept(lambda: lateness(server, deployment, delay))


class Spent(NamedTuple):
    """What a process has used.

    Attributes:
        processor: Seconds.
        switches: How often a thread of it went to sleep.
        reads: Calls that read a file.
    """

    processor: float
    switches: int
    reads: int

    @classmethod
    def of(cls, pid: int) -> "Spent":
        folder = Path(f"/proc/{pid}")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        switches = sum(_value(task / "status", "voluntary_ctxt_switches") for task in (folder / "task").iterdir())
        return cls(ticks / os.sysconf("SC_CLK_TCK"), switches, _value(folder / "io", "syscr"))


def _value(path: Path, name: str) -> int:
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[name])


def idling(pid: int) -> Spent:
    """What a process uses while it has nothing to do."""
    time.sleep(1.0)  # until it has begun
    before = Spent.of(pid)
    time.sleep(IDLE)
    after = Spent.of(pid)
    processor, switches, reads = (second - first for first, second in zip(before, after, strict=True))
    return Spent(processor, int(switches), int(reads))


def test_an_idle_worker_sleeps(tmp_path: Path) -> None:
    """A worker that waits does not look again and again whether its time has come: in some seconds it wakes up a few
    times at most and takes next to no time, though something is scheduled for later."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with deployment.backend() as backend:
        backend.ctx().scheduler.run_after(3600, served.write, text="later")
    with working_apart(deployment) as pid:
        used = idling(pid)
    assert used.processor <= 0.1
    assert used.switches < 10
    assert used.reads < 40
    assert deployment.notes == []
