"""Pass the records of events to `logging`, for `CONVEX_LOG=json` and `CONVEX_LOG=records`."""

from __future__ import annotations

import logging

from flask_convex_http import log
from flask_convex_http.logs.json_lines import JsonFormatter
from flask_convex_http.logs.lines import label
from flask_convex_http.telemetry.records import LEVELS, LogRecord


def prepare(style: str) -> None:
    """Let this process log in a style from now on: "json" or "records"."""
    label()
    log.set_style(JsonFormatter() if style == "json" else None)


def emit(record: LogRecord) -> None:
    """Log the record of an event with the logger that it names.

    Formatters of the application find its fields in `convex`, and the traceback where they look for one.
    """
    logger, level = logging.getLogger(record.logger), LEVELS[record.level]
    if not logger.isEnabledFor(level):
        return
    line = logger.makeRecord(record.logger, level, "", 0, "%s", (record.message,), None)
    line.convex = record.data
    line.convex_request_id, line.convex_function = record.request_id, record.function
    line.exc_text = record.data.get("traceback")
    logger.handle(line)
