"""Timing: two ways of doing one job, alternating, and the ratio of their medians.

Ratios carry over from machine to machine, absolute times do not. The sides alternate, so that other load on the machine
slows both.
"""

from __future__ import annotations

import gc
import statistics
import time
import timeit
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: Seconds of one side in one round, if `number` is not given.
ROUND = 0.05


@dataclass(frozen=True, slots=True)
class Ratio:
    """The result of two alternating measurements.

    Attributes:
        median_ours: Seconds of a call with this package.
        median_theirs: Seconds of a call of the peer.
        ratio: The median ratio of the rounds. 2.0 means twice as slow as the peer.
    """

    median_ours: float
    median_theirs: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a benchmark's table.

    Attributes:
        name: The work.
        ours: Seconds with flask_convex_http.
        theirs: Seconds by hand.
        ratio: Ours to theirs.
        target: The highest acceptable ratio.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    target: float


def alternate(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 9,
    number: int | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time two functions in turns, each of them first in every second round.

    Args:
        ours: The function of this package.
        theirs: The peer.
        rounds: The number of rounds.
        number: The number of calls of each in a round. By default as many as take `ROUND` seconds.
        timer: Returns seconds. That of the processor does not count the waits for a disk and for other programs.
    """
    calls_of_ours = number or _calls(ours)
    calls_of_theirs = number or _calls(theirs)
    pairs = []
    for turn in range(rounds):
        gc.collect()
        if turn % 2:  # the one that comes after the collection has nothing in the processor's caches
            theirs_took = timeit.timeit(theirs, timer=timer, number=calls_of_theirs)
            ours_took = timeit.timeit(ours, timer=timer, number=calls_of_ours)
        else:
            ours_took = timeit.timeit(ours, timer=timer, number=calls_of_ours)
            theirs_took = timeit.timeit(theirs, timer=timer, number=calls_of_theirs)
        pairs.append((ours_took / calls_of_ours, theirs_took / calls_of_theirs))
    return Ratio(
        statistics.median(one for one, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(one / other for one, other in pairs),
    )


def row(name: str, result: Ratio, target: float) -> Row:
    """Return a measurement as a line of a table."""
    return Row(name, result.median_ours, result.median_theirs, result.ratio, target)


def print_table(title: str, rows: Iterable[Row]) -> bool:
    """Print rows under a title, and return whether all reach their targets."""
    rows = list(rows)
    width = max([len(line.name) for line in rows], default=0)
    print(title)
    print(f"  {'':<{width}}  {'ours':>10}  {'by hand':>10}  {'ratio':>6}  {'target':>6}")
    for line in rows:
        mark = "" if line.ratio <= line.target else "  too slow"
        print(
            f"  {line.name:<{width}}  {_duration(line.ours):>10}  {_duration(line.theirs):>10}  "
            f"{line.ratio:>6.2f}  {line.target:>6.2f}{mark}"
        )
    return all(line.ratio <= line.target for line in rows)


def _calls(function: Callable[[], object]) -> int:
    """Return the number of calls that take about `ROUND` seconds, after a warm-up."""
    function()  # work of the first call, such as a map of 5,000 routes, must not count
    calls = 1
    while (taken := timeit.timeit(function, number=calls)) < ROUND / 4:
        calls *= 2
    return max(1, round(calls * ROUND / taken))


def _duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
