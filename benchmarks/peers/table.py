"""Results as a table in Markdown, so that it can be put into the documentation as it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.bursts import Measured
from benchmarks.peers.sides import Side

_HEADS = ("Server", "Durability", "Requests/s", "Ratio", "Processor", "p50", "p99", "Longest", "Errors")
_LEFT = 2


def print_work(title: str, measured: Sequence[tuple[Side, Measured]]) -> None:
    """Print the results of one kind of work.

    Args:
        title: Its name.
        measured: The results of this package and of its peers. A ratio is the median of the rounds' ratios of the first
            server's rate to that one's rate.
    """
    (_, ours), *_ = measured
    rows = [_row(side, result, _ratio(ours, result)) for side, result in measured]
    widths = [max(len(row[column]) for row in [_HEADS, *rows]) for column in range(len(_HEADS))]
    print(f"### {title}\n")
    _print(_HEADS, widths)
    print("|" + "|".join("-" * (width + 1) + ("-" if n < _LEFT else ":") for n, width in enumerate(widths)) + "|")
    for row in rows:
        _print(row, widths)
    for side, result in measured:
        for reason, count in result.errors.most_common(3):
            print(f"\n{side.name}: {count:,} times {reason}")
    print(flush=True)


def _row(side: Side, result: Measured, ratio: float) -> tuple[str, ...]:
    waits = (result.quantile(0.5), result.quantile(0.99), result.longest)
    rate, errors = f"{result.rate:,.0f}", f"{result.errors.total():,}"
    processor = f"{result.processor_per_request * 1e6:,.0f} µs"
    return (
        side.name,
        side.durability,
        rate,
        f"{ratio:.2f}",
        processor,
        *(f"{wait * 1e3:,.1f} ms" for wait in waits),
        errors,
    )


def _ratio(ours: Measured, other: Measured) -> float:
    return statistics.median(one / max(two, 1e-9) for one, two in zip(ours.rates, other.rates, strict=True))


def _print(cells: Sequence[str], widths: Sequence[int]) -> None:
    texts = [
        f"{cell:<{width}}" if column < _LEFT else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    print("| " + " | ".join(texts) + " |")
