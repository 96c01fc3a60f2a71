"""Kill -9 and power cuts at random times: acknowledged writes survive, and nothing is half-written.

A power cut keeps exactly the synced bytes (`keep_synced.c`), or these and a random part of the rest.
"""

from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.crash.crews import Crew, Processes, Served, empty
from tests.crash.judge import faults, lost
from tests.crash.ledger import open_ledger
from tests.crash.nursery import Nursery
from tests.crash.power import Disk
from tests.crash.rounds import Rounds, Start
from tests.lengths import LONG, SAMPLED, repetitions


def batches(points: int, size: int) -> list[int]:
    """Split a number of crashes into batches of a size and a rest."""
    return [min(size, points - start) for start in range(0, points, size)]


#: The number of all crashes. One in five is gunicorn's, whose start takes longer.
POINTS = repetitions("CRASH_POINTS", sample=6, whole=40)
SERVED = POINTS // 5
#: The number of crashes of one growing ledger, before a new one starts.
ROWS, ROWS_SERVED = batches(POINTS - SERVED, 16), batches(SERVED, 4)


def processes(nursery: Nursery, random: Random, **settings: str) -> Start:
    """Return a function that starts worker processes, the first of which creates the tables if needed."""

    def start(disk: Disk, name: str, notes: Path, is_ready: bool) -> Crew:
        return Processes(
            nursery,
            disk.folder,
            notes,
            name,
            random,
            environment=disk.environment,
            is_ready=is_ready,
            settings=settings,
        )

    return start


def served(random: Random) -> Start:
    """Return a function that starts gunicorn and clients."""

    def start(disk: Disk, name: str, notes: Path, is_ready: bool) -> Crew:
        return Served(disk.folder, notes, name, random, disk.environment)

    return start


@LONG
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_killed_processes_lose_nothing(
    row: int, nursery: Nursery, shim: Path, tmp_path: Path, memory: Path, random: Random
) -> None:
    """Writing processes are killed repeatedly, from the creation of the tables on, and lose nothing acknowledged."""
    rounds = Rounds(processes(nursery, random), empty(tmp_path / "disk"), memory, shim, random, longest=0.4)
    rounds.crash_often(ROWS[row])


@SAMPLED
@pytest.mark.parametrize("row", range(len(ROWS_SERVED)))
def test_killed_servers_lose_nothing(row: int, shim: Path, tmp_path: Path, memory: Path, random: Random) -> None:
    """gunicorn and its workers are killed under load repeatedly, and lose nothing that a client got a response for."""
    disk = empty(tmp_path / "disk")
    with closing(open_ledger(disk)) as backend:
        backend.migrate()
    rounds = Rounds(served(random), disk, memory, shim, random, longest=1.6)
    rounds.crash_often(ROWS_SERVED[row])


def test_the_power_cut_is_one(nursery: Nursery, shim: Path, tmp_path: Path, memory: Path, random: Random) -> None:
    """With CONVEX_DURABILITY=normal the same power cut loses acknowledged writes: it would show a false promise."""
    rounds = Rounds(
        processes(nursery, random, CONVEX_DURABILITY="normal"), empty(tmp_path / "disk"), memory, shim, random, 0.4
    )
    for _ in range(20):
        survivors = rounds.survivors(rounds.work())
        assert lost(survivors["crash"], rounds.acknowledged) == set()
        missing = lost(survivors["power cut"], rounds.acknowledged)
        assert faults(survivors["power cut"]) + faults(survivors["torn power cut"]) == []
        if missing:
            return
    pytest.fail("No power cut lost anything")
