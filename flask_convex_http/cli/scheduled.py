"""`flask convex scheduled ...`: list, show, cancel, pause, resume and retry jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import click
import msgspec
from flask.cli import AppGroup

from flask_convex_http.backend import Backend
from flask_convex_http.cli.options import LISTED
from flask_convex_http.cli.output import (
    counted,
    json_option,
    moment,
    note,
    print_json,
    print_table,
    printable,
    shortened,
)
from flask_convex_http.scheduling import JobOutcome, JobResult, JobState
from flask_convex_http.web.state import current_backend

if TYPE_CHECKING:
    from flask_convex_http.schema.system_tables import Attempt, ScheduledFunction

#: The reason why a job in this state cannot be retried.
_NOT_RETRIED: dict[JobState, str] = {
    "pending": "it is pending already",
    "inProgress": "it is running",
    "success": "it has succeeded",
    "failed": "it has not ended yet",
    "canceled": "it was canceled while it ran, and has not ended yet",
    "paused": "it is paused; `flask convex scheduled resume` makes it pending",
}
_NO_DELIVERY = "its delivery is canceled; `flask convex webhooks retry` with the id of the delivery runs it"
_BUSY = "the database is busy with another write"

#: The ends of the sentences for the results of `cancel`, `pause` and `resume`, by outcome.
_CANCELED = {
    "running": "is running and continues; it will not be retried",
    "requested": f"will be canceled before it starts again: {_BUSY}",
    "": "is canceled",
}
_PAUSED = {
    "refused": "cannot be paused",
    "requested": f"will be paused before it starts again: {_BUSY}",
    "": "is paused",
}
_RESUMED = {"refused": "is not paused", "requested": f"will be resumed: {_BUSY}", "": "is pending again"}
_STATES: dict[JobState, str] = {
    "pending": "it is pending",
    "inProgress": "it is running",
    "success": "it has succeeded",
    "failed": "it has failed",
    "canceled": "it was canceled",
    "paused": "it is paused already",
}

scheduled = AppGroup("scheduled", help="Jobs: functions that run later.")


class _ResultOutput(msgspec.Struct):
    """The result for one id, as `--json` prints it.

    Attributes:
        id: The id that was given.
        outcome: See `JobResult`.
        sentence: The result for people.
    """

    id: str = msgspec.field(name="_id")
    outcome: JobOutcome
    sentence: str


# --- list and show ---------------------------------------------------------------------------------------------------


@scheduled.command("list")
@click.option("--state", type=click.Choice(get_args(JobState)), help="Only jobs in this state.")
@click.option("--limit", type=LISTED, default=20, show_default=True, help="How many jobs to list.")
@json_option
def list_scheduled(state: JobState | None, limit: int, as_json: bool) -> None:
    """List jobs, the newest first.

    With --state, pending and running jobs are sorted by their time, and ended jobs by their end, the last one first.
    Times are in UTC.

    \b
    Examples:
      flask convex scheduled list
      flask convex scheduled list --state pending
      flask convex scheduled list --state failed --limit 5 --json
    """
    control = current_backend().job_control
    found = control.list_jobs(state, limit=limit)
    if control.is_paused():
        note("All jobs are paused; `flask convex scheduled resume` lets them start.")
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("There are no jobs." if state is None else f"There are no jobs in the state {state}.")
        return
    print_table(("ID", "FUNCTION", "STATE", "DUE", "ENDED", "ATTEMPTS", "ERROR"), [_cells(job) for job in found])


@scheduled.command("show")
@click.argument("job_id", metavar="ID")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """Show one job with its arguments, its attempts and its whole error.

    \b
    Examples:
      flask convex scheduled show _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    job = current_backend().job_control.get(job_id)
    if job is None:
        raise click.ClickException(_unknown(job_id))
    if as_json:
        print_json(job)
        return
    facts = {
        "Function": f"{job.name} ({job.kind})",
        "Arguments": msgspec.json.encode(job.args).decode(),
        "State": job.state,
        "Scheduled": moment(job.creation_time),
        "Due": moment(_due(job)),
        "Ended": moment(job.completed_time, "not yet"),
        "Worker": job.worker or "",
        "Error": job.error or "",
    }
    for name, fact in facts.items():
        if fact:
            click.echo(printable(f"{name + ':':<11}{fact}"))
    if job.attempts:
        click.echo()
        rows = [_attempt_cells(number, attempt) for number, attempt in enumerate(job.attempts, 1)]
        print_table(("ATTEMPT", "STARTED", "ENDED", "OUTCOME", "ERROR"), rows)


def _cells(job: ScheduledFunction) -> tuple[str, ...]:
    last_error = job.attempts[-1].error if job.attempts and job.state == "pending" else None
    return (
        job.id,
        job.name,
        job.state,
        moment(_due(job)),
        moment(job.completed_time, ""),
        str(len(job.attempts) or ""),
        shortened(job.error or last_error or ""),
    )


def _attempt_cells(number: int, attempt: Attempt) -> tuple[str, ...]:
    ended = moment(attempt.ended, "not yet")
    return str(number), moment(attempt.started), ended, attempt.outcome, attempt.error or ""


def _due(job: ScheduledFunction) -> float:
    """Return when a job runs, or was scheduled to run. A retry may have postponed a pending job."""
    return job.due if job.state in ("pending", "paused") else job.scheduled_time


# --- cancel, pause, resume and retry ---------------------------------------------------------------------------------


@scheduled.command("cancel")
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Cancel all pending jobs.")
@click.option("--function", metavar="NAME", help="With --all: only jobs of this function.")
@click.option("--yes", is_flag=True, help="With --all: do not ask for confirmation.")
@json_option
def cancel(job_ids: Sequence[str], is_all: bool, function: str | None, yes: bool, as_json: bool) -> None:
    """Keep jobs from running.

    A running action continues, but it is not retried, and the jobs that it schedules from now on are canceled too. Jobs
    that have ended stay as they are. The delivery of a webhook's job is canceled too. While another write holds the
    database, such as a job that loops, a worker cancels the jobs before they start.

    \b
    Examples:
      flask convex scheduled cancel _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex scheduled cancel --all --function reports:send
    """
    if bool(job_ids) == is_all:
        raise click.UsageError("Give the ids of the jobs to cancel, or --all.")
    if (function is not None or yes) and not is_all:
        raise click.UsageError("--function and --yes need --all.")
    backend = current_backend()
    if is_all:
        _cancel_all(backend, function, yes, as_json)
    else:
        _report([(result, _sentence(result, _CANCELED)) for result in backend.job_control.cancel(job_ids)], as_json)


@scheduled.command("pause")
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Pause all jobs and crons; the default without ids.")
@json_option
def pause(job_ids: Sequence[str], is_all: bool, as_json: bool) -> None:
    """Keep jobs from starting until they are resumed.

    Without ids no worker starts a job or fires a cron. Jobs can still be scheduled, and actions that run continue. This
    works at once, also while another write holds the database.

    \b
    Examples:
      flask convex scheduled pause
      flask convex scheduled pause _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    control = current_backend().job_control
    if _chosen(job_ids, is_all):
        _report([(result, _sentence(result, _PAUSED)) for result in control.pause(job_ids)], as_json)
        return
    running = control.pause_all()
    if as_json:
        print_json({"paused": True, "running": running})
        return
    click.echo("No job starts until `flask convex scheduled resume`.")
    if running:
        click.echo(f"{counted(running, 'action')} running, which continue to their end.")


@scheduled.command("resume")
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="End the pause of all jobs; the default without ids.")
@json_option
def resume(job_ids: Sequence[str], is_all: bool, as_json: bool) -> None:
    """Let paused jobs start.

    Without ids it ends the pause of all jobs. Jobs that were paused by their ids stay paused. A job whose time has
    passed starts at once.

    \b
    Examples:
      flask convex scheduled resume
      flask convex scheduled resume _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    control = current_backend().job_control
    if _chosen(job_ids, is_all):
        _report([(result, _sentence(result, _RESUMED)) for result in control.resume(job_ids)], as_json)
        return
    was_paused = control.resume_all()
    if as_json:
        print_json({"paused": False})
        return
    click.echo("Jobs start again." if was_paused else "Jobs were not paused.")


@scheduled.command("retry")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def retry(job_ids: Sequence[str], as_json: bool) -> None:
    """Run failed or canceled jobs again.

    A job keeps its id, and an action keeps its idempotency token. A job that was canceled before its time runs at its
    time. An action whose attempts are used up gets one more.

    \b
    Examples:
      flask convex scheduled retry _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    backend = current_backend()
    results = backend.job_control.retry(job_ids)
    _report([(result, _retried(result, backend.clock())) for result in results], as_json)


def _cancel_all(backend: Backend, function: str | None, yes: bool, as_json: bool) -> None:
    count = len(backend.job_control.pending(function))
    if not count and function is not None:
        backend.functions.find(function)  # raises; jobs of a function that was removed can be canceled
    if count and not yes:
        note(f"{counted(count, 'pending job')} will be canceled.")
        click.confirm("Continue?", abort=True, err=True)
    canceled, pending, is_requested = backend.job_control.cancel_pending(function)
    if as_json:
        print_json({"canceled": canceled, "pending": pending} | ({"requested": True} if is_requested else {}))
        return
    click.echo(f"{counted(canceled, 'job')} canceled.")
    if is_requested:
        click.echo(f"{counted(pending, 'more job')} will be canceled before the next one starts: {_BUSY}.")
    elif pending:
        click.echo(f"{counted(pending, 'more job')} scheduled since then; stop the process that schedules them first.")


def _sentence(result: JobResult, texts: dict[str, str]) -> str:
    """Return the sentence for the result of an operation on one job.

    Args:
        result: The result.
        texts: The words after the name of the job, by outcome. The text of "" is for the others.
    """
    if result.job is None:
        return _unknown(result.job_id)
    name = f"{result.job.name} ({result.job_id})"
    if result.outcome == "ended":
        return f"{name} has ended already: {result.job.state}"
    text = texts.get(result.outcome, texts[""])
    return f"{name} {text}" + (f": {_STATES[result.job.state]}" if result.outcome == "refused" else "")


def _chosen(job_ids: Sequence[str], is_all: bool) -> bool:
    """Return whether a command concerns the jobs with these ids, and not all."""
    if job_ids and is_all:
        raise click.UsageError("Give the ids of jobs, or --all.")
    return bool(job_ids)


def _retried(result: JobResult, now: float) -> str:
    if result.job is None:
        return _unknown(result.job_id)
    name = f"{result.job.name} ({result.job_id})"
    if result.outcome == "refused":
        is_delivery = result.job.state == "canceled" and result.job.completed_time is not None
        return f"{name} cannot be retried: {_NO_DELIVERY if is_delivery else _NOT_RETRIED[result.job.state]}"
    return f"{name} will run {'again' if result.job.due <= now else 'at ' + moment(result.job.due)}"


def _unknown(job_id: str) -> str:
    return f"There is no job {job_id!r}; `flask convex scheduled list` lists the jobs"


def _report(results: list[tuple[JobResult, str]], as_json: bool) -> None:
    """Print the results. The exit status is 1 if a job was not found or could not be retried."""
    failures = [sentence for result, sentence in results if result.outcome in ("refused", "unknown")]
    if as_json:
        print_json([_ResultOutput(result.job_id, result.outcome, sentence) for result, sentence in results])
    successes = [] if as_json else [sentence for _, sentence in results if sentence not in failures]
    for sentence in successes:
        click.echo(f"{sentence}.")
    if failures:
        raise click.ClickException(printable("\n".join(failures)))
