"""Kill -9 and power cuts at random moments, again and again: what was acknowledged is there, nothing is half-written.

A power cut leaves what was synced and nothing else (`keep_synced.c`), or that and a random part of the rest.
"""

import os
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


def batches(points: int, size: int) -> list[int]:
    """A number of crashes, in rows of a size and a rest."""
    return [min(size, points - start) for start in range(0, points, size)]


#: How many crashes there are in all. One in five is gunicorn's, whose start takes longer.
POINTS = int(os.environ.get("CRASH_POINTS", "16"))
SERVED = POINTS // 5
#: Many in a row on one ledger, which grows, and then a new one.
ROWS, ROWS_SERVED = batches(POINTS - SERVED, 16), batches(SERVED, 4)


def processes(nursery: Nursery, random: Random, **settings: str) -> Start:
    """Starts worker processes, the first of which makes the tables if they are not there."""

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
    """Starts gunicorn and clients."""

    def start(disk: Disk, name: str, notes: Path, is_ready: bool) -> Crew:
        return Served(disk.folder, notes, name, random, disk.environment)

    return start


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_killed_processes_lose_nothing(
    row: int, nursery: Nursery, shim: Path, tmp_path: Path, memory: Path, random: Random
) -> None:
    """Processes that write are killed again and again, from the making of the tables on: nothing acknowledged is lost,
    nothing is half-written, with or without a power cut, and work goes on with what is left."""
    rounds = Rounds(processes(nursery, random), empty(tmp_path / "disk"), memory, shim, random, longest=0.4)
    rounds.crash_often(ROWS[row])


@pytest.mark.parametrize("row", range(len(ROWS_SERVED)))
def test_killed_servers_lose_nothing(row: int, shim: Path, tmp_path: Path, memory: Path, random: Random) -> None:
    """gunicorn and its workers are killed under load again and again: nothing that a client was answered is lost,
    nothing is half-written, with or without a power cut, and the next server goes on with what is left."""
    disk = empty(tmp_path / "disk")
    with closing(open_ledger(disk)) as backend:
        backend.migrate()
    rounds = Rounds(served(random), disk, memory, shim, random, longest=1.6)
    rounds.crash_often(ROWS_SERVED[row])


def test_the_power_cut_is_one(nursery: Nursery, shim: Path, tmp_path: Path, memory: Path, random: Random) -> None:
    """At CONVEX_DURABILITY=normal, which promises less, the same power cut loses what was acknowledged, and nothing
    else: so it would show a commit that only says it is durable."""
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
