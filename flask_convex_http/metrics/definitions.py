"""The metrics that count events: their names, labels and buckets.

Names and units follow the conventions of Prometheus: base units, `_total` for counters, one unit for each metric. A
label has few values: rules of routes and names of functions and webhooks, never a path, an id or anything else that a
client chooses.
"""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A counter, or a histogram if it has buckets.

    Attributes:
        name: The name, with `_total` for a counter.
        help: The counted events, in one sentence.
        labels: The names of its labels.
        buckets: The upper bounds of its buckets in order, without infinity.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


#: Seconds of requests and functions: from a read in memory to a handler that waits for another service.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Seconds of transactions and waits, which are shorter.
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
#: Seconds by which jobs run late: from a wake-up to a worker that was down.
_LAG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

REQUESTS = Metric("convex_http_requests_total", "HTTP requests that have ended.", ("method", "route", "status"))
REQUEST_SECONDS = Metric(
    "convex_http_request_duration_seconds", "Time of HTTP requests until their response.", ("method", "route"), _SECONDS
)
CALLS = Metric("convex_function_calls_total", "Calls of functions that have ended.", ("function", "kind", "outcome"))
CALL_SECONDS = Metric(
    "convex_function_call_duration_seconds", "Time of calls of functions.", ("function", "kind"), _SECONDS
)
TRANSACTION_SECONDS = Metric(
    "convex_transaction_duration_seconds",
    "Time of write transactions, with their wait, all their attempts and the commit.",
    ("outcome",),
    _SHORT_SECONDS,
)
WRITE_WAIT_SECONDS = Metric(
    "convex_write_wait_seconds",
    "Time for which write transactions waited for the writer or a connection.",
    (),
    _SHORT_SECONDS,
)
GROUP_SIZE = Metric("convex_group_commit_size", "Write transactions that shared one commit of SQLite.", (), _WRITES)
COMMIT_SECONDS = Metric(
    "convex_group_commit_duration_seconds", "Time of these commits alone, which wait for the disk.", (), _SHORT_SECONDS
)
RETRIES = Metric(
    "convex_transaction_retries_total", "Further attempts of write transactions that conflicted with others.", ()
)
DELIVERIES = Metric(
    "convex_deliveries_total",
    "Verified webhook deliveries by the state that they have reached, duplicates included.",
    ("source", "state"),
)
REJECTED = Metric("convex_rejected_deliveries_total", "Webhook deliveries that were rejected.", ("source", "reason"))
ATTEMPTS = Metric(
    "convex_job_attempts_total", "Attempts of scheduled functions that have ended.", ("function", "outcome")
)
LAG_SECONDS = Metric(
    "convex_job_lag_seconds", "Time between the due time of a job and the start of its first attempt.", (), _LAG_SECONDS
)

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    CALLS,
    CALL_SECONDS,
    TRANSACTION_SECONDS,
    WRITE_WAIT_SECONDS,
    GROUP_SIZE,
    COMMIT_SECONDS,
    RETRIES,
    DELIVERIES,
    REJECTED,
    ATTEMPTS,
    LAG_SECONDS,
)
