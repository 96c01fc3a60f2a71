"""The charts of the overview: lines over time, each with a table of the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from flask_convex_http.logs.statistics import Histogram, Minute

Value = float | None


class Chart(msgspec.Struct, frozen=True):
    """A chart.

    Attributes:
        name: Its name in URLs and ids.
        title: Its title, with the unit.
        lines: The names of its lines.
        rows: The start of each step in milliseconds since the epoch, and the value of each line; None for no value.
    """

    name: str
    title: str
    lines: Sequence[str]
    rows: list[tuple[float, list[Value]]]

    @property
    def headings(self) -> list[str]:
        """The headings of its table."""
        return ["Time", *(f"{line}>" for line in self.lines)]

    @property
    def total(self) -> str:
        """The sum of each line of counts, in words; empty for means and the like."""
        if " per " not in self.title:
            return ""
        sums = [sum(values[place] or 0 for _, values in self.rows) for place in range(len(self.lines))]
        return ", ".join(f"{count:,.0f} {line}" for count, line in zip(sums, self.lines, strict=True) if count)

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not any(value for _, values in self.rows for value in values)


def charts_of(steps: list[Minute], minutes: int) -> list[Chart]:
    """Return the charts of what happened.

    Args:
        steps: The steps in order.
        minutes: The length of a step.
    """
    per = "minute" if minutes == 1 else f"{minutes} minutes"
    return [
        _chart("requests", f"Requests per {per}", ("all", "4xx", "5xx"), steps, _requests),
        _chart("latency", "Duration of requests in ms", ("median", "95 %"), steps, _latency),
        _chart("functions", f"Function calls per {per}", ("all", "failed"), steps, _functions),
        _chart("deliveries", f"Webhook deliveries per {per}", ("done", "failed", "rejected"), steps, _deliveries),
        _chart("waits", "Wait for the writer in ms", ("median", "95 %"), steps, _waits),
        _chart("groups", "Writes in one commit", ("mean",), steps, lambda step: [step.group_size]),
    ]


def _chart(
    name: str, title: str, lines: Sequence[str], steps: list[Minute], values: Callable[[Minute], list[Value]]
) -> Chart:
    return Chart(name, title, lines, [(step.start, values(step)) for step in steps])


def _requests(step: Minute) -> list[Value]:
    return [step.request_count, step.requests.get("4xx", 0), step.error_count]


def _latency(step: Minute) -> list[Value]:
    return _quantiles(step.request_seconds)


def _functions(step: Minute) -> list[Value]:
    return [sum(step.functions.values()), sum(step.function_errors.values())]


def _deliveries(step: Minute) -> list[Value]:
    failed = sum(step.deliveries.get(state, 0) for state in ("failed", "dead"))
    return [step.deliveries.get("done", 0), failed, sum(step.rejections.values())]


def _waits(step: Minute) -> list[Value]:
    return _quantiles(step.write_wait)


def _quantiles(found: Histogram) -> list[Value]:
    return [None if value is None else value * 1000 for value in (found.quantile(0.5), found.quantile(0.95))]
