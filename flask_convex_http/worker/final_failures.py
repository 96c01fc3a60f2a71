"""The final failure of an action: its record, and the application's `on_failure` in the same commit.

An `on_failure` that kills its process, or never ends, must not stop the record or the next workers. After a worker's
death, and after a time limit, it is a job of its own that the commit schedules, since jobs have a limit of attempts.
"""

from __future__ import annotations

from flask_convex_http.backend import Backend
from flask_convex_http.errors import is_of_transaction
from flask_convex_http.functions.function import ActionFunction
from flask_convex_http.log import logger_of
from flask_convex_http.runtime import AppContext, MutationCalls
from flask_convex_http.runtime.caller import RunningJob
from flask_convex_http.scheduling import Submission
from flask_convex_http.scheduling.jobs import AttemptOutcome
from flask_convex_http.schema.system_tables import ScheduledFunction

logger = logger_of("jobs")


def fail_action(
    backend: Backend,
    app_context: AppContext,
    calls: MutationCalls,
    job: ScheduledFunction,
    error: str,
    outcome: AttemptOutcome = "failed",
    *,
    as_job: bool = False,
) -> None:
    """End an action as failed, and run its `on_failure` as a part of the same transaction.

    An action that was canceled while it ran stays canceled, and nothing more runs. An `on_failure` that raises is
    rolled back and logged. The action has failed nevertheless.

    Args:
        backend: The deployment.
        app_context: Returns the context that `on_failure` runs in.
        calls: The calls of the transaction.
        job: The row of the action, as it was during the attempt.
        error: The error of the last attempt.
        outcome: The outcome of the last attempt.
        as_job: Whether to schedule `on_failure` instead of running it.
    """
    jobs = backend.jobs
    was_canceled = jobs.is_canceled(calls.transaction, job.id)
    jobs.fail(calls.transaction, job, backend.clock(), error, outcome)
    function = backend.functions.get(job.name)
    if was_canceled or not isinstance(function, ActionFunction) or function.on_failure is None:
        return
    try:
        arguments = function.check_arguments((), job.args, json=True)
        if as_job and backend.functions.has(function.on_failure):
            calls.jobs.add(Submission.of(function.on_failure, backend.schema, calls.now, (error,), arguments))
            return
        hook_arguments = function.on_failure.check_arguments((error,), arguments)
        calls.run_job(function.on_failure, hook_arguments, RunningJob(job.id, job.id), app_context)
    except BaseException as failure:
        if is_of_transaction(failure):
            raise  # the transaction is retried, and with it the call
        logger.error("on_failure of the scheduled action %s (%s) failed", job.name, job.id, exc_info=failure)
