"""How an attempt to run a job ended: the value that runners return, and the log line of a failure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask_convex_http.error_texts import text_of
from flask_convex_http.errors import MutationTimeoutError, NoRetry
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.retry import Retry
from flask_convex_http.scheduling.jobs import count_attempts
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.telemetry import Scope

logger = logger_of("jobs")

#: Jobs of one batch that have a line each.
_MOST_LINES = 5


class Run(NamedTuple):
    """An observed run of a job's function: its scope, its duration and how late it started, both in seconds."""

    scope: Scope
    seconds: float
    lag: float | None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one attempt to run a job.

    Attributes:
        job: The row as it was before the attempt.
        value: The value that the function returned.
        error: The exception that the function raised, or None.
        was_run: Whether the function was called; False for a job that could not run in this process.
        run: Its times, if they are observed.
    """

    job: ScheduledFunction
    value: Any = None
    error: BaseException | None = None
    was_run: bool = True
    run: Run | None = None


def log_success(job: ScheduledFunction) -> None:
    """Log that a job has ended well and that this is recorded. Jobs of the package log their own success."""
    level = logging.DEBUG if job.name.startswith("_") else logging.INFO
    logger.log(level, "The scheduled %s %s (%s) succeeded", job.kind, job.name, job.id, extra=EVENT)


def log_successes(jobs: Sequence[ScheduledFunction]) -> None:
    """Log that the jobs of one batch have ended well.

    Many of one function are one line, since a line takes a fifth of the time of a short mutation. At DEBUG each job has
    a line.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    if len(jobs) <= _MOST_LINES or logger.isEnabledFor(logging.DEBUG):
        for job in jobs:
            log_success(job)
        return
    for name, count in Counter(job.name for job in jobs if not job.name.startswith("_")).items():
        logger.info("%d jobs of the scheduled mutation %s succeeded", count, name, extra=EVENT)


def is_final(job: ScheduledFunction, error: BaseException, retry: Retry | None) -> bool:
    """Return whether no attempt follows the one that failed with this error."""
    return retry is None or isinstance(error, NoRetry) or count_attempts(job) >= retry.max_attempts


def last_attempt(job: ScheduledFunction, retry: Retry | None) -> int:
    """Return the number of the attempt after which no other follows. An attempt that was stopped allows one more."""
    number = len(job.attempts)
    return number if retry is None else max(number, retry.max_attempts + number - count_attempts(job))


def log_failure(job: ScheduledFunction, error: BaseException, retry: Retry | None = None) -> None:
    """Log the exception of a function with its traceback: as a warning if another attempt follows, else as an error."""
    count = count_attempts(job)
    level = logging.ERROR if is_final(job, error, retry) else logging.WARNING
    attempt = "" if retry is None else f" in attempt {count} of {max(count, retry.max_attempts)}"
    message = f"The scheduled {job.kind} {job.name} ({job.id}) failed{attempt}"
    if job.kind == "mutation" and isinstance(error, MutationTimeoutError):  # its time limit has logged the stack
        logger.log(level, "%s: %s", message, error, extra=EVENT)
        return
    try:
        logger.log(level, message, exc_info=error, extra=EVENT)
    except BaseException:  # an exception may raise another one when it is formatted
        logger.log(level, "%s: %s", message, text_of(error), extra=EVENT)
