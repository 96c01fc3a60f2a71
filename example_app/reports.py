"""Long work: a request schedules it, a worker runs it, and clients poll its progress."""

from datetime import timedelta

import msgspec

from flask_convex_http import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    Retry,
    ScheduledFunction,
    internal_action,
    internal_mutation,
    internal_query,
    lt,
)

from .schema import Item, Report


class Progress(msgspec.Struct):
    """The progress of a report."""

    state: str
    items: int | None = None
    error: str | None = None


@internal_mutation
def start(ctx: MutationCtx, *, words: str) -> Id[Report]:
    """Schedule a report. It runs if and only if this transaction commits."""
    report = ctx.db.insert(Report(words=words))
    job = ctx.scheduler.run_after(0, make, report=report, words=words)
    ctx.db.patch(report, job=job)
    return report


@internal_action(retry=Retry(max_attempts=3, backoff=timedelta(seconds=5)))
def make(ctx: ActionCtx, *, report: Id[Report], words: str) -> None:
    """Make a report. `ctx.once` keeps a retry from repeating a call to another service."""
    found = ctx.once(f"report:{report}", lambda token: ctx.run_query(count, words=words))
    ctx.run_mutation(finish, report=report, items=found)


@internal_query
def count(ctx: QueryCtx, *, words: str) -> int:
    """Count the items whose names contain the words."""
    return sum(words.lower() in item.name.lower() for item in ctx.db.query(Item))


@internal_mutation
def finish(ctx: MutationCtx, *, report: Id[Report], items: int) -> None:
    """Store the result of a report."""
    ctx.db.patch(report, items=items)


@internal_query
def progress(ctx: QueryCtx, *, report: Id[Report]) -> Progress | None:
    """Return the progress of a report, or None if it does not exist."""
    found = ctx.db.get(report)
    job: ScheduledFunction | None = ctx.db.system.get(found.job) if found and found.job else None
    if found is None:
        return None
    return Progress(job.state if job else "success", found.items, job.error if job else None)


@internal_mutation
def purge(ctx: MutationCtx, *, days: int) -> int:
    """Delete reports older than this many days and return their number, at most 500 at once."""
    before = ctx.now - timedelta(days=days).total_seconds() * 1000
    old = ctx.db.query(Report).with_index("by_creation_time", creation_time=lt(before)).take(500)
    for report in old:
        ctx.db.delete(report.id)
    return len(old)
