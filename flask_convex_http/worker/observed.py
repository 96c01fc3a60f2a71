"""Publish the attempts of jobs, while telemetry is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from flask_convex_http.backend import Backend
from flask_convex_http.retry import Retry
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.telemetry import JobFinished, JobOutcome, Telemetry
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
        number = max(len(job.attempts), 1)
        telemetry.publish(
            JobFinished(run.scope, job.id, job.name, job.kind, number, outcome, run.seconds, run.lag, error)
        )
