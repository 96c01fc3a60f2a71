"""Pages of the list of jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_convex_http import ActionCtx, MutationCtx, Schema, action, mutation
from flask_convex_http.backend import Backend
from flask_convex_http.scheduling.job_control import JobState
from tests.databases import EACH_ENGINE, memory_backend

pytestmark = EACH_ENGINE


@mutation
def note(ctx: MutationCtx) -> None:
    """Do nothing in a transaction."""


@action
def wait(ctx: ActionCtx) -> None:
    """Do nothing outside of a transaction."""


def schedule(backend: Backend) -> None:
    """Schedule jobs of both kinds of which several are due at one time, and cancel some."""
    scheduler = backend.ctx().scheduler
    when = datetime.now(UTC) + timedelta(minutes=1)
    times = [when + timedelta(seconds=number // 4) for number in range(9)]
    found = [scheduler.run_at(time, each) for time in times for each in (note, wait)]
    backend.job_control.cancel(found[::3])


def pages(backend: Backend, state: JobState | None, limit: int) -> list[str]:
    """Return the ids of the jobs on all pages."""
    found: list[str] = []
    after: list[Any] | None = None
    while True:
        page = backend.job_control.page(state, limit=limit, after=after)
        found += [job.id for job in page.documents]
        assert len(page.documents) == limit or page.next is None
        after = page.next
        if after is None:
            return found


@pytest.mark.parametrize("state", [None, "pending", "canceled", "failed"])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_each_job_is_on_one_page(state: JobState | None, limit: int) -> None:
    """The pages of a list have each job once, in the order of the whole list, also those that are due at one time."""
    with memory_backend(Schema(), [note, wait]) as backend:
        schedule(backend)
        whole = [job.id for job in backend.job_control.list_jobs(state, limit=100)]
        assert len(whole) == {None: 18, "pending": 12, "canceled": 6, "failed": 0}[state]
        assert pages(backend, state, limit) == whole
