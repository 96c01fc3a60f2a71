"""The tables of jobs and crons."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flask_convex_http.ids import Id
from flask_convex_http.schema.documents import Document, unique


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to run a scheduled action.

    Attributes:
        started: The start time.
        ended: The end time, or the time at which its worker was found dead.
        outcome: "lost" if its worker died, "stopped" if its worker was stopped before the end.
        error: The error, if the attempt failed.
    """

    started: float
    ended: float | None = None
    outcome: Literal["running", "success", "failed", "lost", "stopped"] = "running"
    error: str | None = None


class ScheduledFunction(Document, table="_scheduled_functions", indexes={"by_state": ["state", "kind", "due"]}):
    """A job: a scheduled function. It is purged some time after its end.

    Attributes:
        name: The name of the function, such as "items:create".
        args: The arguments, as JSON values.
        kind: "mutation" runs in one transaction with its own completion, "action" outside a transaction.
        state: The state. Only actions are ever "inProgress". A "paused" job is pending again after `resume`.
        scheduled_time: The time it should run.
        due: The time of its next step: an attempt, a check of its lease, or its purge.
        completed_time: The end time.
        error: The error, if it failed.
        worker: The worker that runs it.
        attempts: The attempts of an action, and those of a mutation whose process died, in order.
        trace: What has scheduled it, as the `traceparent` of a trace; None without tracing.
    """

    name: str
    args: dict[str, Any]
    kind: Literal["mutation", "action"]
    state: Literal["pending", "inProgress", "success", "failed", "canceled", "paused"]
    scheduled_time: float
    due: float
    completed_time: float | None = None
    error: str | None = None
    worker: str | None = None
    attempts: list[Attempt] = []
    trace: str | None = None


class CronJob(Document, table="_cron_jobs", indexes={"by_name": unique("name")}):
    """A cron, as the process that started last defines it.

    Attributes:
        name: Its name, unique among the crons.
        schedule: Its schedule in one line. A changed schedule computes `next_tick` again.
        function: The name of the function.
        args: The arguments, as JSON values.
        next_tick: The time of the next tick.
        last_job: The job of the last tick.
    """

    name: str
    schedule: str
    function: str
    args: dict[str, Any]
    next_tick: float
    last_job: Id[ScheduledFunction] | None = None


class CronRun(Document, table="_cron_runs", indexes={"by_tick": unique("name", "tick"), "by_time": ["tick"]}):
    """One tick of a cron. The unique index on name and tick makes a tick run once.

    Attributes:
        name: The name of the cron.
        tick: The time of the tick.
        job: The scheduled job.
        skipped: The number of ticks after this one that were too late to run.
    """

    name: str
    tick: float
    job: Id[ScheduledFunction]
    skipped: int = 0
