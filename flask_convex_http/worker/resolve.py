"""The function of a job: find it, or decide what happens to a job whose function cannot run in this process.

`resolve` decides and writes nothing. `record` writes a decision to the job's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_convex_http.engines import Transaction
from flask_convex_http.errors import FunctionNotFoundError
from flask_convex_http.functions.function import Function
from flask_convex_http.functions.registry import Registry
from flask_convex_http.scheduling.jobs import Jobs, Kind
from flask_convex_http.schema.system_tables import ScheduledFunction

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
        error: The reason, for the row.
    """

    error: str


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
        return Deferred(now + _LOOK_AGAIN) if is_new else Unrunnable(str(error))
    if function.kind == job.kind:
        return function
    if function.kind == "query":
        return Unrunnable(f"{job.name} is a query now, and cannot be scheduled")
    return KindChanged(function.kind)


def record(
    decision: Deferred | Unrunnable | KindChanged,
    job: ScheduledFunction,
    jobs: Jobs,
    transaction: Transaction,
    now: float,
) -> None:
    """Write a decision to the row of a job."""
    match decision:
        case Deferred(due):
            jobs.reschedule(transaction, job, due)
        case Unrunnable(error):
            jobs.fail(transaction, job, now, error)
        case KindChanged(kind):
            jobs.change_kind(transaction, job, kind)
