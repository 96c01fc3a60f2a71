"""The documentation of the metrics names those that exist, and all of them."""

import json
import re
from pathlib import Path
from typing import Any

from flask_convex_http.metrics.definitions import METRICS
from flask_convex_http.metrics.gauges import GAUGES
from tests.docs.markdown import page, spans

_DASHBOARD = json.loads(Path("docs/deploy/grafana.json").read_text(encoding="utf-8"))
_HISTOGRAMS = [metric for metric in METRICS if metric.buckets]
_SAMPLES = {
    **{metric.name: set(metric.labels) for metric in (*METRICS, *GAUGES)},
    **{f"{metric.name}_bucket": {*metric.labels, "le"} for metric in _HISTOGRAMS},
    **{f"{metric.name}_{part}": set(metric.labels) for metric in _HISTOGRAMS for part in ("sum", "count")},
}


def _targets() -> list[Any]:
    return [target for panel in _DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_the_page_describes_each_metric() -> None:
    """The table of the page has each metric with its type, labels and meaning, in the order of the code."""
    rows = [row for row in page("how-to/metrics").rows() if row[0].startswith("`convex_")]
    kinds = ["histogram" if metric.buckets else "counter" for metric in METRICS] + ["gauge"] * len(GAUGES)
    metrics = [(metric.name, metric.labels, metric.help) for metric in METRICS]
    metrics += [(gauge.name, gauge.labels, gauge.help) for gauge in GAUGES]
    expected = [(name, kind, list(labels), text) for (name, labels, text), kind in zip(metrics, kinds, strict=True)]
    assert [(spans(row[0])[0], row[1], spans(row[2]), row[3]) for row in rows] == expected


def test_alerts_and_panels_name_samples_that_exist() -> None:
    """Every query of the page and of the dashboard reads a metric, and selects and groups by its labels."""
    page_queries = re.findall(r"expr: (.*)", page("how-to/metrics").text)
    queries = [*page_queries, *(target["expr"] for target in _targets())]
    assert len(queries) > 30
    for query in queries:
        names = set(re.findall(r"\bconvex_\w+", query))
        assert names and names <= set(_SAMPLES), query
        labels = set().union(*(_SAMPLES[name] for name in names)) | {"job"}
        used = re.findall(r"(\w+)=~?\"", query)
        used += [label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")]
        assert set(used) <= labels, query


def test_the_dashboard_shows_each_metric() -> None:
    """Each metric is in a panel, and legends name labels of their query."""
    shown = " ".join(target["expr"] for target in _targets())
    assert [metric.name for metric in (*METRICS, *GAUGES) if metric.name not in shown] == []
    for target in _targets():
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert re.search(rf"\b{label}\b", target["expr"]), target


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    """Each panel has an id and a place of its own on Grafana's grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in _DASHBOARD["panels"]):
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in _DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
