"""Due, running and failed jobs, and crons: cancel, retry and run now."""

from __future__ import annotations

from typing import get_args

from flask import Response
from werkzeug.exceptions import NotFound

from flask_convex_http.dashboard.page import Page
from flask_convex_http.dashboard.rendering import state_name
from flask_convex_http.dashboard.visit import Visit
from flask_convex_http.scheduling import JobOutcome, JobResult, JobState

page = Page("jobs", "Jobs and crons")

_JOBS = 50
STATES: tuple[JobState, ...] = get_args(JobState)
#: The sentence for the outcome of an operation on one job.
_DONE: dict[JobOutcome, str] = {
    "canceled": "is canceled.",
    "running": "runs to its end, and is not retried.",
    "pending": "runs as soon as a worker is free.",
    "requested": "is busy: a worker does it before the job starts again.",
}


@page.get()
def index(visit: Visit) -> Response:
    """List the crons and the jobs in a state."""
    state = visit.choice("state", STATES)
    chosen: JobState | None = next((each for each in STATES if each == state), None)
    control = visit.backend.job_control
    found = control.page(chosen, limit=_JOBS, after=visit.place(state))
    return visit.render(
        "jobs.html",
        jobs=found.documents,
        next=visit.cursor(found.next, state),
        is_paused=control.is_paused(),
        crons=visit.backend.crons.statuses(),
        states=[(each, state_name(each)) for each in STATES],
        state=state,
    )


@page.get("/job/<job>")
def job(visit: Visit, job: str) -> Response:
    """Show a job with its arguments and attempts."""
    found = visit.backend.job_control.get(job)
    if found is None:
        raise NotFound
    return visit.render("job.html", job=found)


@page.post("/job/<job>/cancel")
def cancel(visit: Visit, job: str) -> Response:
    """Keep a job from running."""
    return _respond(visit, visit.backend.job_control.cancel([job])[0])


@page.post("/job/<job>/retry")
def retry(visit: Visit, job: str) -> Response:
    """Run a failed or canceled job again."""
    return _respond(visit, visit.backend.job_control.retry([job])[0])


@page.post("/job/<job>/run")
def run(visit: Visit, job: str) -> Response:
    """Make a pending job due at once."""
    return _respond(visit, visit.backend.job_control.run_now([job])[0])


@page.post("/cron")
def run_cron(visit: Visit) -> Response:
    """Run the function of a cron once more, regardless of its schedule."""
    name = visit.field("name")
    submission = visit.backend.crons.registration.submissions().get(name)
    if submission is None:
        raise NotFound
    job_id = visit.backend.job_control.add_now(submission)
    return visit.redirect("jobs_job", job=job_id, done=f"Scheduled one more run of {name}.")


@page.post("/pause")
def pause(visit: Visit) -> Response:
    """Keep all jobs and crons from starting."""
    visit.backend.job_control.pause_all()
    return visit.redirect("jobs_index", done="No job starts until you resume them.")


@page.post("/resume")
def resume(visit: Visit) -> Response:
    """Let jobs and crons start again."""
    visit.backend.job_control.resume_all()
    return visit.redirect("jobs_index", done="Jobs start again.")


def _respond(visit: Visit, result: JobResult) -> Response:
    if result.job is None:
        raise NotFound
    done = _DONE.get(result.outcome)
    if done is None:
        state = state_name(result.job.state)
        return visit.redirect("jobs_job", job=result.job_id, failed=f"{result.job.name} is {state}: nothing was done.")
    return visit.redirect("jobs_job", job=result.job_id, done=f"{result.job.name} {done}")
