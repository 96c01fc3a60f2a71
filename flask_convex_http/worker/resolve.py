"""The function of a job: find it, or decide what happens to a job whose function cannot run in this process.

`resolve` decides and writes nothing. `record` writes a decision to the job's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_convex_http.backend import Backend
from flask_convex_http.engines import Transaction
from flask_convex_http.errors import ConvexHTTPError, FunctionNotFoundError, SchedulingError
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.log import EVENT, logger_of
from flask_convex_http.scheduling.jobs import Kind
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.worker.observed import observed
from flask_convex_http.worker.results import AttemptResult

logger = logger_of("jobs")

#: Milliseconds for which an unknown function may belong to a newer version of the application that is being deployed.
_DEPLOYMENT_TIME = 60_000
#: Milliseconds until the next look for an unknown function.
_LOOK_AGAIN = 2_000


@dataclass(frozen=True, slots=True)
class Deferred:
    """The function is unknown, and a newer version of the application may have it.

    Attributes:
        due: The time of the next look, in milliseconds since the epoch.
    """

    due: float


@dataclass(frozen=True, slots=True)
class Unrunnable:
    """The function does not exist or cannot be scheduled, so the job fails.

    Attributes:
        error: The reason.
    """

    error: ConvexHTTPError


@dataclass(frozen=True, slots=True)
class KindChanged:
    """The function was a mutation and is an action now, or the reverse. The other runner takes the job.

    Attributes:
        kind: The present kind.
    """

    kind: Kind


def resolve(
    job: ScheduledFunction, functions: Registry, now: float
) -> Function[Any, Any] | Deferred | Unrunnable | KindChanged:
    """Return the function of a job, or the reason why it cannot run now."""
    try:
        function = functions.find(job.name)
    except FunctionNotFoundError as error:
        is_new = now - max(job.scheduled_time, job.creation_time) < _DEPLOYMENT_TIME
        return Deferred(now + _LOOK_AGAIN) if is_new else Unrunnable(error)
    if function.kind == job.kind:
        return function
    if function.kind == "query":
        return Unrunnable(SchedulingError(f"{job.name} is a query now, and cannot be scheduled"))
    return KindChanged(function.kind)


def record(
    decision: Deferred | Unrunnable | KindChanged, job: ScheduledFunction, backend: Backend, transaction: Transaction
) -> AttemptResult:
    """Write a decision to the row of a job.

    Returns:
        The result, for `publish` after the commit. Only a job that fails has an error.
    """
    match decision:
        case Deferred(due):
            backend.jobs.reschedule(transaction, job, due)
        case KindChanged(kind):
            backend.jobs.change_kind(transaction, job, kind)
        case Unrunnable(error):
            backend.jobs.fail(transaction, job, backend.clock(), str(error))
            return _failed(backend, job, error)
    return AttemptResult(job, was_run=False)


def _failed(backend: Backend, job: ScheduledFunction, error: ConvexHTTPError) -> AttemptResult:
    logger.error("The scheduled %s %s (%s) failed: %s", job.kind, job.name, job.id, error, extra=EVENT)
    result = AttemptResult(job, error=error, was_run=False)
    return observed(backend, job, lambda: result) if backend.telemetry.is_on else result
