"""The last log records and the counters of each minute, for the dashboard, `flask convex logs` and other readers.

Events of `telemetry` and log lines become records and counts (`records`, `tallies`) in the thread that publishes them,
and are appended to a queue. One thread of the process writes the queue to the store (`queue`), so that no request and
no transaction waits. `Logs` reads them.
"""

from __future__ import annotations

from flask_convex_http.logs.logs import Logs as Logs
from flask_convex_http.logs.statistics import Histogram as Histogram
from flask_convex_http.logs.statistics import Minute as Minute
from flask_convex_http.telemetry.records import LogFilter as LogFilter
from flask_convex_http.telemetry.records import LogRecord as LogRecord
