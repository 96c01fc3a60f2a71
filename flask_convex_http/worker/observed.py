"""Publish the attempts of jobs, while telemetry is on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from flask_convex_http.backend import Backend
from flask_convex_http.retry import Retry
from flask_convex_http.runtime import MutationCalls
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.telemetry import JobFinished, JobOutcome, Scope, Telemetry
from flask_convex_http.worker.results import AttemptResult, Run, is_final


def observed(backend: Backend, job: ScheduledFunction, attempt: Callable[[], AttemptResult]) -> AttemptResult:
    """Make an attempt, and return its result with what `publish` needs."""
    telemetry, is_first = backend.telemetry, len(job.attempts) <= 1
    lag = max(backend.clock() - job.scheduled_time, 0.0) / 1000 if is_first else None
    carrier = None if job.trace is None else {"traceparent": job.trace}
    scope = telemetry.enter("job", job.name, carrier=carrier, subject=job.id, function=job.name)
    try:
        result = attempt()
    finally:
        seconds = telemetry.leave(scope)
    return dataclasses.replace(result, run=Run(scope, seconds, lag))


def publish(telemetry: Telemetry, results: Sequence[AttemptResult], retry: Retry | None = None) -> None:
    """Publish attempts whose end is committed."""
    for result in results:
        job, run, error = result.job, result.run, result.error
        if run is None:
            continue
        outcome: JobOutcome = "success"
        if error is not None:
            outcome = "failed" if is_final(job, error, retry) else "retry"
        number, lag = max(len(job.attempts), 1), run.lag if result.was_run else None
        telemetry.publish(JobFinished(run.scope, job.id, job.name, job.kind, number, outcome, run.seconds, lag, error))


class InterruptedAttemptError(Exception):
    """An attempt has no end, because its worker died or was stopped."""


def publish_interrupted(
    telemetry: Telemetry, calls: MutationCalls, job: ScheduledFunction, now: float, error: str, *, is_final: bool
) -> None:
    """Publish an attempt after the commit that records its interruption.

    Args:
        telemetry: The telemetry of the deployment.
        calls: The calls of the transaction.
        job: The row of the job, with the attempt.
        now: When the interruption was found, in milliseconds since the epoch.
        error: The interruption, for people.
        is_final: Whether the job has failed with it.
    """
    if not telemetry.is_on:
        return
    started = job.attempts[-1].started if job.attempts else now
    seconds = max(now - started, 0.0) / 1000
    began = time.perf_counter() - seconds
    scope = Scope(telemetry, "job", job.name, None, None, started / 1000, began, None, job.id, job.name)
    outcome: JobOutcome = "failed" if is_final else "retry"
    number, failure = max(len(job.attempts), 1), InterruptedAttemptError(error)
    event = JobFinished(scope, job.id, job.name, job.kind, number, outcome, seconds, None, failure)
    calls.after_commit(lambda: telemetry.publish(event))
