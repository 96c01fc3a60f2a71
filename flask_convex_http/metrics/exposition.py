"""The metrics in the types of prometheus-client, which writes them in the formats of Prometheus and OpenMetrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector

from flask_convex_http.errors import ConfigurationError
from flask_convex_http.metrics.definitions import METRICS, Metric
from flask_convex_http.metrics.gauges import GAUGES, Reading
from flask_convex_http.metrics.totals import Labels, Total, Totals

#: The variable with the folder of prometheus-client's own mode for several processes.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Collector:
    """The metrics of a deployment, for a registry of prometheus-client.

    Args:
        collect: Returns the totals, and the gauges.
    """

    def __init__(self, collect: Callable[[], tuple[Totals, Iterable[Reading]]]) -> None:
        self._collect = collect

    def describe(self) -> Iterator[Family]:
        """Yield each metric without values, so that a scrape can choose some by `name[]`."""
        for metric in METRICS:
            yield _family(metric, {})
        for gauge in GAUGES:
            yield GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its values."""
        totals, readings = self._collect()
        for metric in METRICS:
            yield _family(metric, totals.of(metric))
        for gauge, values in readings:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def exposition(collector: Collector) -> Callable[..., Any]:
    """Return the WSGI application that writes the metrics.

    With PROMETHEUS_MULTIPROC_DIR set it adds the application's own, which prometheus-client keeps in that folder.

    Raises:
        ConfigurationError: The variable names no folder.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        if not os.path.isdir(folder):
            raise ConfigurationError(f"{FOLDER_VARIABLE} must name a folder: create {folder}, or unset the variable")
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return make_wsgi_app(registry)


def _family(metric: Metric, values: dict[Labels, Total]) -> Family:
    if not values and not metric.labels:
        values = {(): Total(0.0, [0] * (len(metric.buckets) + 1) if metric.buckets else [])}
    if not metric.buckets:
        counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, total in values.items():
            counter.add_metric(labels, total.sum)
        return counter
    bounds = [*map(str, map(float, metric.buckets)), "+Inf"]
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, total in values.items():
        buckets = list(zip(bounds, map(float, accumulate(total.buckets)), strict=True))
        histogram.add_metric(labels, buckets, total.sum)
    return histogram
