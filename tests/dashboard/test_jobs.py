"""The page of jobs and crons."""

import pytest
from flask import Flask

from flask_convex_http import testing
from tests.dashboard.shop import backend_of
from tests.dashboard.visitors import Visitor, next_page, text_of
from tests.databases import EACH_ENGINE

pytestmark = EACH_ENGINE

HOSTILE = "<b>hostile</b>"


def run_jobs(app: Flask) -> None:
    """Run the jobs that are due."""
    app.testing = True  # otherwise a database on a server counts as a real one
    testing.run_scheduled(app)


def schedule(app: Flask, name: str = "shop:fail") -> str:
    """Schedule a function for tomorrow, and return the id of its job."""
    arguments = {"text": HOSTILE} if name == "shop:fail" else {"email": "a@shop.example", "name": "A"}
    return backend_of(app).ctx().scheduler.run_after(86_400, name, **arguments)


def test_empty(visitor: Visitor) -> None:
    """Without jobs the page shows the crons and says how to schedule one."""
    page = text_of(visitor.get("/jobs"))
    assert "sweep" in page and "There are no jobs." in page and "ctx.scheduler.run_after" in page
    assert "every 1 h" in page


def test_run_now_and_retry(app: Flask, visitor: Visitor) -> None:
    """A job that is due tomorrow runs now, fails, shows its error as text, and is retried."""
    job = schedule(app)
    assert "shop:fail" in text_of(visitor.get("/jobs?state=pending"))
    assert "as soon as a worker is free" in text_of(visitor.post(f"/jobs/job/{job}/run"))
    run_jobs(app)
    page = visitor.get(f"/jobs/job/{job}")
    assert "failed" in text_of(page) and HOSTILE in text_of(page) and HOSTILE not in page.text
    assert "nothing was done" in text_of(visitor.post(f"/jobs/job/{job}/run"))
    assert "as soon as a worker is free" in text_of(visitor.post(f"/jobs/job/{job}/retry"))
    assert backend_of(app).job_control.list_jobs("pending", limit=1)[0].id == job


def test_cancel(app: Flask, visitor: Visitor) -> None:
    """A canceled job does not run; canceling it again says that it has ended."""
    job = schedule(app)
    assert "is canceled." in text_of(visitor.post(f"/jobs/job/{job}/cancel"))
    assert "nothing was done" in text_of(visitor.post(f"/jobs/job/{job}/cancel"))
    assert visitor.post("/jobs/job/nothing/cancel").status_code == 404
    assert visitor.get("/jobs/job/nothing").status_code == 404
    assert visitor.get("/jobs?state=x").status_code == 400


def test_run_a_cron(app: Flask, visitor: Visitor) -> None:
    """A cron runs once more on request."""
    assert "Scheduled one more run of sweep" in text_of(visitor.post("/jobs/cron", name="sweep"))
    run_jobs(app)
    [customer] = backend_of(app).run("shop:list_customers", {})
    assert customer.email == "cron@shop.example"
    assert visitor.post("/jobs/cron", name="nothing").status_code == 404


@pytest.mark.parametrize("query", ["", "?state=pending"])
def test_pages(app: Flask, visitor: Visitor, query: str) -> None:
    """Long lists are read in pages, and a page of one list is none of another."""
    for _ in range(52):
        schedule(app)
    first = visitor.get(f"/jobs{query}").text
    second = visitor.client.get(next_page(first)).text
    assert (first.count("/jobs/job/"), second.count("/jobs/job/")) == (50, 2)
    assert "First page" in second and 'rel="next"' not in second
    cursor = next_page(first).partition("cursor=")[2]
    for other in (f"state=failed&cursor={cursor}", f"cursor={cursor}x", "cursor=é"):
        assert visitor.get(f"/jobs?{other}").status_code == 400


def test_pause(app: Flask, visitor: Visitor) -> None:
    """All jobs are paused and resumed."""
    assert "All jobs are paused" in text_of(visitor.post("/jobs/pause"))
    assert backend_of(app).job_control.is_paused()
    assert "Jobs start again." in text_of(visitor.post("/jobs/resume"))
    assert not backend_of(app).job_control.is_paused()


@pytest.mark.parametrize("path", ["job/{}/cancel", "job/{}/run", "job/{}/retry", "cron", "pause", "resume"])
def test_read_only(app: Flask, reader: Visitor, path: str) -> None:
    """A read-only session sees jobs and changes none."""
    job = schedule(app)
    assert "shop:fail" in reader.get("/jobs").text and "Run now" not in reader.get(f"/jobs/job/{job}").text
    assert reader.post(f"/jobs/{path.format(job)}").status_code == 403
