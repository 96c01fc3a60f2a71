"""Throughput: several sides do the same work under load, alternating, in several rounds.

A side works for some seconds and returns a `Burst`. The ratio is the median of the rounds' ratios. Acknowledged writes
are counted in the database afterwards, since a side that loses writes is no valid comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

#: Seconds of a side's turn. Writes by hand are fast for a second or two, as long as one thread keeps the lock. Then the
#: waiting ones keep the log from restarting, and some fail.
SECONDS = 4.0
_WIDTHS = (50, 10, 21, 9, 9, 9, 9, 7, 7, 8)
_HEADS = ("", "durability", "", "a second", "p50", "p99", "max", "errors", "ratio", "at least")


@dataclass(slots=True)
class Burst:
    """The result of working for some seconds.

    Attributes:
        seconds: The time within which work was started.
        in_time: The writes acknowledged within that time, which make the rate.
        acknowledged: All acknowledged writes, which must be in the database.
        waits: The seconds of each write, failed ones included.
        errors: The errors with their numbers.
        processor: The seconds of processor time that the server took, where that is measured.
    """

    seconds: float
    in_time: int = 0
    acknowledged: int = 0
    waits: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    processor: float = 0.0

    def add(self, other: Burst) -> None:
        """Add another burst to this one."""
        self.in_time += other.in_time
        self.acknowledged += other.acknowledged
        self.waits += other.waits
        self.errors.update(other.errors)
        self.processor += other.processor


class Side(Protocol):
    """One way of doing the work.

    Attributes:
        name: Its name in the table.
    """

    name: str

    def run(self, seconds: float) -> Burst:
        """Work for some seconds."""

    def stored(self) -> int:
        """Return the number of stored writes of all bursts, which must not be smaller than the acknowledged number."""


@dataclass(frozen=True, slots=True)
class Target:
    """The targets of this package.

    Attributes:
        ratio: The lowest ratio to the other side's rate.
        longest: The longest wait in seconds.
        p99: The 99th percentile of waits in seconds.
    """

    ratio: float | None = None
    longest: float | None = None
    p99: float | None = None

    def missed(self, ours: Measured, ratio: float) -> list[str]:
        """Return the missed targets, as sentences."""
        words = []
        if self.ratio is not None and ratio < self.ratio:
            words.append(f"ratio under {self.ratio:g}x")
        if self.longest is not None and ours.longest > self.longest:
            words.append(f"longest wait over {self.longest:g} s")
        if self.p99 is not None and ours.quantile(0.99) > self.p99:
            words.append(f"p99 over {self.p99:g} s")
        if ours.errors:
            words.append("errors")
        return words


@dataclass(frozen=True, slots=True)
class Measured:
    """All rounds of one side."""

    name: str
    rates: list[float]
    waits: list[float]
    errors: Counter[str]
    processor: float = 0.0

    @property
    def rate(self) -> float:
        """The median rate of the rounds, in acknowledged writes per second."""
        return statistics.median(self.rates)

    @property
    def processor_per_request(self) -> float:
        """The seconds of processor time of the server for each request."""
        return self.processor / max(len(self.waits), 1)

    @property
    def longest(self) -> float:
        """The longest wait."""
        return max(self.waits, default=0.0)

    def quantile(self, part: float) -> float:
        """Return a quantile of the sorted waits, for a part from 0 to 1."""
        return self.waits[min(len(self.waits) - 1, int(part * len(self.waits)))] if self.waits else 0.0


class LostWritesError(Exception):
    """An acknowledged write is not in the database."""


def alternate(sides: Sequence[Side], rounds: int, seconds: float) -> list[Measured]:
    """Let each side work in turns, and check that it stored what it acknowledged.

    Raises:
        LostWritesError: A side acknowledged more than it stored.
    """
    bursts: list[list[Burst]] = [[] for _ in sides]
    for turn in range(rounds + 1):  # the first turn only opens files and connections
        for side, own in zip(sides, bursts, strict=True):
            own.append(side.run(seconds if turn else min(seconds, 0.5)))
    for side, own in zip(sides, bursts, strict=True):
        _check_stored(side, sum(burst.acknowledged for burst in own))
    return [_measured(side.name, own[1:]) for side, own in zip(sides, bursts, strict=True)]


def items_in(database: Path) -> int:
    """Return the number of rows of the table "items" in a SQLite file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (items,) = connection.execute("SELECT count(*) FROM items").fetchone()
    return int(items)


def print_head(title: str) -> None:
    """Print a title and the names of the columns."""
    print(title)
    _print_cells(_HEADS)


def print_comparison(work: str, durability: str, measured: Sequence[Measured], targets: Sequence[Target]) -> None:
    """Print this package and its peers, and the missed targets.

    Args:
        work: The work.
        durability: The durability of all sides.
        measured: This package, and then its peers.
        targets: The targets against each peer.
    """
    ours, *others = measured
    _print_side(work, durability, ours)
    missed: list[str] = []
    for other, target in zip(others, targets, strict=True):
        ratio = _ratio(ours, other)
        _print_side("", "", other, f"{ratio:.2f}x", "" if target.ratio is None else f"{target.ratio:g}x")
        missed += [f"{words}, against {other.name}" for words in target.missed(ours, ratio)]
    for words in missed:
        print(f"    MISSED: {words}")
    for side in measured:
        for text, count in side.errors.most_common(3):
            print(f"    {side.name}: {count} times {text}")


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options of all benchmarks of throughput."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--durability", choices=["full", "normal"], action="append", help="both, without it")
    options.add_argument("--only", default="", metavar="TEXT", help="only the lines whose name has this in it")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=SECONDS, help="how long a side works in a round")
    return options


def _check_stored(side: Side, acknowledged: int) -> None:
    stored = side.stored()
    if stored < acknowledged:
        raise LostWritesError(f"{side.name} acknowledged {acknowledged} writes and stored {stored}")


def _measured(name: str, bursts: Sequence[Burst]) -> Measured:
    errors: Counter[str] = Counter()
    for burst in bursts:
        errors.update(burst.errors)
    waits = sorted(wait for burst in bursts for wait in burst.waits)
    rates = [burst.in_time / burst.seconds for burst in bursts]
    return Measured(name, rates, waits, errors, sum(burst.processor for burst in bursts))


def _ratio(ours: Measured, other: Measured) -> float:
    return statistics.median(one / max(two, 1e-9) for one, two in zip(ours.rates, other.rates, strict=True))


def _print_side(work: str, durability: str, side: Measured, ratio: str = "", target: str = "") -> None:
    waits = (side.quantile(0.5), side.quantile(0.99), side.longest)
    errors = f"{side.errors.total():,}"
    _print_cells((work, durability, side.name, f"{side.rate:,.0f}", *map(_duration, waits), errors, ratio, target))


def _print_cells(cells: Sequence[str]) -> None:
    left, right = 3, len(cells)
    texts = [f"{cells[place]:<{_WIDTHS[place]}}" for place in range(left)]
    texts += [f"{cells[place]:>{_WIDTHS[place]}}" for place in range(left, right)]
    print("  " + " ".join(texts).rstrip(), flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"
