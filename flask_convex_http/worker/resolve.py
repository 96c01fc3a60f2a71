"""What a worker finds out about a row before it runs it: which function that is, and whether it can be run here."""

from __future__ import annotations

import logging
from typing import Any

from flask_convex_http.engines.base import Transaction
from flask_convex_http.errors import FunctionNotFoundError, text_of
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.retry import Retry
from flask_convex_http.scheduling.jobs import Jobs, tried
from flask_convex_http.schema.system_tables import ScheduledFunction

logger = logging.getLogger("flask_convex_http")

#: Milliseconds for which a function that is not known here may be one of a newer version, which starts at the moment.
_UNKNOWN_FOR = 60_000
_LOOK_AGAIN = 2_000


def function_of(
    job: ScheduledFunction, functions: Registry, jobs: Jobs, transaction: Transaction, now: float
) -> Function[Any, Any] | None:
    """The function to run; None if it cannot be run now, and the row says so."""
    try:
        function = functions.find(job.name)
    except FunctionNotFoundError as error:
        if now - max(job.scheduled_time, job.creation_time) < _UNKNOWN_FOR:
            jobs.delay(transaction, job, now + _LOOK_AGAIN)
        else:
            jobs.fail(transaction, job, now, str(error))
        return None
    if function.kind == job.kind:
        return function
    if function.kind == "query":
        jobs.fail(transaction, job, now, f"{job.name} is a query now, and cannot be scheduled")
    else:
        jobs.change_kind(transaction, job, function.kind)
    return None


def failure(job: ScheduledFunction, error: BaseException, retry: Retry | None = None) -> str:
    """Log what a function has failed with, and answer it as a row keeps it, whatever it says of itself."""
    text, count = text_of(error), tried(job)
    level = logging.WARNING if retry is not None and count < retry.max_attempts else logging.ERROR
    attempt = "" if retry is None else f" in attempt {count} of {max(count, retry.max_attempts)}"
    what = f"The scheduled {job.kind} {job.name} ({job.id}) failed{attempt}"
    try:
        logger.log(level, what, exc_info=error)
    except BaseException:  # logging wants to show the error, too
        logger.log(level, "%s: %s", what, text)
    return text
