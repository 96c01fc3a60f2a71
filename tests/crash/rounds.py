"""Rounds: start a crew where the last one was killed, kill it at a random time, and check the rest."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from flask_convex_http import ConvexHTTPError
from flask_convex_http.sqlite.connections import sqlite3
from tests.crash.clients import PATIENCE
from tests.crash.crews import Crew, empty
from tests.crash.judge import faults, lost
from tests.crash.power import Disk

#: Starts a crew on a disk, for the name of the round, a folder for its notes and whether the tables exist.
Start = Callable[[Disk, str, Path, bool], Crew]


@dataclass
class Rounds:
    """A ledger through many crashes.

    Attributes:
        start: Starts the crew of a round.
        disk_folder: The folder of the ledger, whose file system decides about syncs.
        memory: A folder for everything else.
        shim: The library made of `keep_synced.c`.
        random: Chooses times and victims.
        longest: The longest life of a crew in seconds, if it is killed after some time.
        most: The largest number of its entries, if it is killed after some work.
        acknowledged: The keys acknowledged in all rounds.
        deaths: The number of kills.
        errors: The errors before the last kill.
    """

    start: Start
    disk_folder: Path
    memory: Path
    shim: Path
    random: Random
    longest: float
    most: int = 200
    acknowledged: set[str] = field(default_factory=set)
    deaths: int = 0
    errors: str = ""

    def crash_often(self, times: int) -> None:
        """Run a number of rounds. If one leaves a fault, its files are kept."""
        for _ in range(times):
            wrong = self.crash()
            if wrong:
                evidence = shutil.copytree(self.memory, f"{self.disk_folder}-evidence", ignore=_no_sockets)
                raise AssertionError("\n".join([f"See {evidence}", *wrong[:10]]))

    def crash(self) -> list[str]:
        """Run one round, and return the faults after it."""
        survivors = self.survivors(self.work())
        wrong = [f"{name}: {problem}" for name, folder in survivors.items() for problem in self._judged(folder)]
        if not wrong:
            self._go_on_from(self.random.choice(list(survivors.values())))
        return [f"round {self.deaths}: {problem}" for problem in [*filter(None, [self.errors]), *wrong]]

    def work(self) -> Disk:
        """Start a crew, let it live for a while, and kill it."""
        disk = Disk(self.disk_folder, empty(self.memory / "kept"), self.shim)
        notes = empty(self.memory / "notes")
        self.deaths += 1
        crew = self.start(disk, f"round-{self.deaths}", notes, bool(self.acknowledged))
        try:
            self._live(crew)
        finally:
            crew.kill()
        self.acknowledged.update(crew.acknowledged)
        self.errors = crew.errors
        return disk

    def survivors(self, disk: Disk) -> dict[str, Path]:
        """Yield the possible rests: after a crash, a power cut, and a partial power cut."""
        return {
            "crash": disk.after_crash(self.memory / "crash"),
            "power cut": disk.after_power_cut(self.memory / "cut"),
            "torn power cut": disk.after_torn_power_cut(self.memory / "torn", self.random),
        }

    def _live(self, crew: Crew) -> None:
        """Wait until the kill, sometimes with a death on the way."""
        moments = self.random.choice((self._some_time, self._some_work))
        if self.random.random() < 0.3:
            moments(crew)
            crew.kill_one()
        moments(crew)

    def _some_time(self, crew: Crew) -> None:
        """Wait for a random time, often only for the first moments, in which everything is opened."""
        time.sleep(self.random.choice((self.longest, self.longest / 6)) * self.random.random())

    def _some_work(self, crew: Crew) -> None:
        """Wait for a random amount of work, however busy the machine is, and a moment more."""
        target = len(crew.acknowledged) + self.random.randint(1, self.most)
        end = time.monotonic() + PATIENCE
        while len(crew.acknowledged) < target and not crew.errors and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(0.005 * self.random.random())

    def _judged(self, folder: Path) -> list[str]:
        """Return the faults in a folder, found on a copy, since the check writes to it."""
        copy = Disk.copy(folder, self.memory / "judged")
        try:
            missing = sorted(lost(copy, self.acknowledged))
            return [f"{len(missing)} acknowledged entries are lost: {missing[:3]}"] * bool(missing) + faults(copy)
        except (ConvexHTTPError, sqlite3.Error) as error:
            return [f"it cannot be used: {error!r}"]

    def _go_on_from(self, folder: Path) -> None:
        Disk.copy(folder, self.disk_folder)


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]
