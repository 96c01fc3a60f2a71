"""Scheduled functions from the command line: look at them, cancel them, run again what has failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

import click
import msgspec
from flask.cli import AppGroup

from flask_convex_http.backend import Backend
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
from flask_convex_http.database.query import Query
from flask_convex_http.engines.base import Snapshot, Transaction
from flask_convex_http.ids import table_of
from flask_convex_http.scheduling.jobs import KINDS
from flask_convex_http.schema.system_tables import Attempt, ScheduledFunction
from flask_convex_http.web.state import current_backend

#: What was asked of a scheduled function, and what came of it.
Outcome = Literal["canceled", "running", "ended", "pending", "refused", "unknown"]

_STATES = ("pending", "inProgress", "success", "failed", "canceled")
_OPEN = ("pending", "inProgress")
#: How many one transaction cancels: others want to write too.
_AT_ONCE = 500
#: How often `cancel --all` looks whether more was scheduled meanwhile.
_PASSES = 20

scheduled = AppGroup("scheduled", help="Scheduled functions.")


class _Step(msgspec.Struct):
    """What came of one id, as programs read it.

    Attributes:
        id: The id that was given.
        outcome: What came of it.
        sentence: The same for people.
    """

    id: str = msgspec.field(name="_id")
    outcome: Outcome
    sentence: str


# --- looking ---------------------------------------------------------------------------------------------------------


@scheduled.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@json_option
def list_scheduled(state: str | None, limit: int, as_json: bool) -> None:
    """List scheduled functions, those scheduled last first.

    Of one state, what is pending or in progress comes in the order of its time, what has ended latest first. All times
    are in UTC.

    \b
    Examples:
      flask convex scheduled list
      flask convex scheduled list --state pending
      flask convex scheduled list --state failed --limit 5 --json
    """
    backend = current_backend()
    with backend.engine.read() as snapshot:
        found = _newest(backend, snapshot, limit) if state is None else _of_state(backend, snapshot, state, limit)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo(f"There are no scheduled functions{'' if state is None else ' in the state ' + state}.")
        return
    rows = [
        (
            job.id,
            job.name,
            job.state,
            moment(_due(job)),
            moment(job.completed_time, ""),
            str(len(job.attempts) or ""),
            shortened(_error(job)),
        )
        for job in found
    ]
    print_table(("ID", "FUNCTION", "STATE", "DUE", "ENDED", "ATTEMPTS", "ERROR"), rows)


@scheduled.command("show")
@click.argument("job_id", metavar="ID")
@json_option
def show(job_id: str, as_json: bool) -> None:
    """Show all there is to know of a scheduled function: arguments, attempts, the whole error.

    \b
    Examples:
      flask convex scheduled show _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    backend = current_backend()
    with backend.engine.read() as snapshot:
        job = _get(backend, snapshot, job_id)
    if job is None:
        raise click.ClickException(_unknown(job_id).sentence)
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
        rows = [_attempt(number, attempt) for number, attempt in enumerate(job.attempts, 1)]
        print_table(("ATTEMPT", "STARTED", "ENDED", "OUTCOME", "ERROR"), rows)


# --- canceling -------------------------------------------------------------------------------------------------------


@scheduled.command("cancel")
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="All that are pending.")
@click.option("--function", metavar="NAME", help="With --all: only those of this function.")
@click.option("--yes", is_flag=True, help="With --all: do not ask.")
@json_option
def cancel(job_ids: Sequence[str], is_all: bool, function: str | None, yes: bool, as_json: bool) -> None:
    """Keep scheduled functions from running.

    An action that runs already goes on, but is not tried again, and what it schedules from now on is canceled too. What
    has ended stays as it is.

    \b
    Examples:
      flask convex scheduled cancel _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
      flask convex scheduled cancel --all --function reports:send
    """
    if bool(job_ids) == is_all:
        raise click.UsageError("Give the ids of those to cancel, or --all.")
    if (function is not None or yes) and not is_all:
        raise click.UsageError("--function and --yes go with --all.")
    backend = current_backend()
    if is_all:
        _cancel_all(backend, function, yes, as_json)
    else:
        _report(backend.engine.write(partial(_cancel, backend, list(dict.fromkeys(job_ids)))), as_json)


def _cancel(backend: Backend, job_ids: Iterable[str], transaction: Transaction) -> list[_Step]:
    return [_cancel_one(backend, job_id, transaction) for job_id in job_ids]


def _cancel_one(backend: Backend, job_id: str, transaction: Transaction) -> _Step:
    job = _get(backend, transaction, job_id)
    if job is None:
        return _unknown(job_id)
    name = f"{job.name} ({job_id})"
    if not backend.jobs.cancel(transaction, job_id, backend.clock()):
        return _Step(job_id, "ended", f"{name} has ended before: {job.state}")
    if job.state == "inProgress":
        return _Step(job_id, "running", f"{name} runs already and goes on; it is not tried again")
    return _Step(job_id, "canceled", f"{name} is canceled")


def _cancel_all(backend: Backend, function: str | None, yes: bool, as_json: bool) -> None:
    pending, count = _pending(backend, function), 0
    if pending and not yes:
        note(f"{counted(len(pending), 'pending function')} will be canceled.")
        click.confirm("Go on?", abort=True, err=True)
    for _ in range(_PASSES):  # what ran meanwhile may have scheduled itself again
        for start in range(0, len(pending), _AT_ONCE):
            count += backend.engine.write(partial(_cancel_pending, backend, pending[start : start + _AT_ONCE]))
        pending = _pending(backend, function)
        if not pending:
            break
    if as_json:
        print_json({"canceled": count, "pending": len(pending)})
        return
    click.echo(f"{counted(count, 'function')} canceled.")
    if pending:
        click.echo(f"{counted(len(pending), 'function')} more were scheduled meanwhile; stop what does that first.")


def _pending(backend: Backend, function: str | None) -> list[str]:
    with backend.engine.read() as snapshot:
        return [
            job.id
            for kind in KINDS
            for job in backend.jobs.of_state(snapshot, "pending", kind)
            if function is None or job.name == function
        ]


def _cancel_pending(backend: Backend, job_ids: Iterable[str], transaction: Transaction) -> int:
    found = [_get(backend, transaction, job_id) for job_id in job_ids]
    pending = [job.id for job in found if job is not None and job.state == "pending"]
    return sum(backend.jobs.cancel(transaction, job_id, backend.clock()) for job_id in pending)


# --- trying again ----------------------------------------------------------------------------------------------------


@scheduled.command("retry")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def retry(job_ids: Sequence[str], as_json: bool) -> None:
    """Run scheduled functions again that have failed or were canceled.

    They keep their ids, and the tokens that actions have for calls to other services. What was canceled before its time
    runs at its time. An action whose attempts are used up gets one more.

    \b
    Examples:
      flask convex scheduled retry _scheduled_functions_0190f3a1b2c3d4e5f60718293a4b5c6d
    """
    backend = current_backend()
    steps = backend.engine.write(partial(_retry, backend, list(dict.fromkeys(job_ids))))
    if any(step.outcome == "pending" for step in steps):
        backend.jobs.announce(backend.clock())
    _report(steps, as_json)


def _retry(backend: Backend, job_ids: Iterable[str], transaction: Transaction) -> list[_Step]:
    return [_retry_one(backend, job_id, transaction) for job_id in job_ids]


def _retry_one(backend: Backend, job_id: str, transaction: Transaction) -> _Step:
    job = _get(backend, transaction, job_id)
    if job is None:
        return _unknown(job_id)
    name = f"{job.name} ({job_id})"
    reason = _reason_against(job)
    if reason is not None:
        return _Step(job_id, "refused", f"{name} cannot be run again: {reason}")
    now = backend.clock()
    due = backend.jobs.retry(transaction, job, now)
    return _Step(job_id, "pending", f"{name} will run {'again' if due <= now else 'at ' + moment(due)}")


def _reason_against(job: ScheduledFunction) -> str | None:
    if job.state == "pending":
        return "it is to run already"
    if job.state == "inProgress":
        return "it runs at the moment"
    if job.state == "success":
        return "it has done what it was to do"
    if job.completed_time is None:
        return "it was canceled while it ran, and nobody has seen it end yet"
    return None


# --- what these share ------------------------------------------------------------------------------------------------


def _report(steps: list[_Step], as_json: bool) -> None:
    """Say what came of each id; the exit status is 1 if that was not what was asked for."""
    failures = [step for step in steps if step.outcome in ("refused", "unknown")]
    if as_json:
        print_json(steps)
    else:
        for step in steps:
            if step not in failures:
                click.echo(f"{step.sentence}.")
    if failures:
        raise click.ClickException(printable("\n".join(step.sentence for step in failures)))


def _unknown(job_id: str) -> _Step:
    sentence = f"There is no scheduled function {job_id!r}; `flask convex scheduled list` lists them"
    return _Step(job_id, "unknown", sentence)


def _get(backend: Backend, snapshot: Snapshot, job_id: str) -> ScheduledFunction | None:
    is_id = table_of(job_id) == backend.jobs.table.name  # or it may be what the database cannot even be asked for
    return backend.jobs.get(snapshot, job_id) if is_id else None


def _newest(backend: Backend, snapshot: Snapshot, limit: int) -> list[ScheduledFunction]:
    table = backend.jobs.table
    return Query(snapshot, table, table.indexes["by_creation_time"]).order("desc").take(limit)


def _of_state(backend: Backend, snapshot: Snapshot, state: str, limit: int) -> list[ScheduledFunction]:
    order: Literal["asc", "desc"] = "asc" if state in _OPEN else "desc"
    found = [job for kind in KINDS for job in backend.jobs.of_state(snapshot, state, kind).order(order).take(limit)]
    return sorted(found, key=lambda job: (job.due, job.creation_time), reverse=order == "desc")[:limit]


def _due(job: ScheduledFunction) -> float:
    """When it is or was to run; what is pending may have been put off."""
    return job.due if job.state == "pending" else job.scheduled_time


def _error(job: ScheduledFunction) -> str:
    """What it failed with, the attempts before the next one included."""
    last = job.attempts[-1].error if job.attempts and job.state == "pending" else None
    return job.error or last or ""


def _attempt(number: int, attempt: Attempt) -> tuple[str, ...]:
    ended = moment(attempt.ended, "not yet")
    return str(number), moment(attempt.started), ended, attempt.outcome, attempt.error or ""
