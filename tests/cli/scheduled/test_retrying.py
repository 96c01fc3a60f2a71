"""`flask convex scheduled retry`."""

import time
from pathlib import Path

from flask_convex_http.cli.output import moment
from flask_convex_http.testing import run_scheduled
from tests.cli.errands import Errands, errands
from tests.cli.scheduled.jobs import UNKNOWN, fail, start, states


def test_a_failed_job_runs_again(shop: Errands) -> None:
    """A retried job keeps its id, and loses its error when it succeeds."""
    job_id = shop.schedule("need", text="milk")
    run_scheduled(shop.app)
    assert (shop.row(job_id).state, shop.row(job_id).error) == ("failed", "LookupError: Nobody has noted milk")
    shop.schedule("note", text="milk")
    run_scheduled(shop.app)
    retried = shop.convex("scheduled", "retry", job_id)
    assert (retried.status, "will run again" in retried.out) == (0, True)
    assert [(job.id, job.state) for job in run_scheduled(shop.app)] == [(job_id, "success")]
    assert shop.row(job_id).error is None


def test_a_canceled_job_runs_again(shop: Errands) -> None:
    """A canceled job is pending again, at its old time if that is still to come."""
    now, later = shop.schedule("note", text="now"), shop.schedule("note", 3600, text="later")
    shop.convex("scheduled", "cancel", now, later)
    retried = shop.convex("scheduled", "retry", now, later)
    assert (retried.status, "will run again." in retried.out) == (0, True)
    assert f"will run at {moment(shop.row(later).scheduled_time)}." in retried.out
    run_scheduled(shop.app)
    assert (states(shop, now, later), shop.notes()) == (["success", "pending"], ["now"])


def test_a_retried_action_keeps_its_attempts(shop: Errands, tmp_path: Path) -> None:
    """A retried action keeps the log of its earlier attempts."""
    (tmp_path / "go").touch()
    job_id = shop.schedule("wait", folder=str(tmp_path))
    start(shop, job_id)
    fail(shop, job_id, "OSError")
    shop.convex("scheduled", "retry", job_id)
    run_scheduled(shop.app)
    assert [attempt.outcome for attempt in shop.row(job_id).attempts] == ["failed", "success"]
    assert shop.notes() == ["attempt 2"]


def test_jobs_that_did_not_fail_are_not_retried(shop: Errands) -> None:
    """Jobs that cannot be retried are refused with a reason and stay unchanged; a failed one beside them is retried."""
    done = shop.schedule("note", text="")
    run_scheduled(shop.app)
    pending, failed = shop.schedule("note", text=""), shop.schedule("note", text="")
    running, canceled = (shop.schedule("wait", folder="/") for _ in range(2))
    start(shop, running)
    start(shop, canceled)
    shop.convex("scheduled", "cancel", canceled)
    fail(shop, failed, "ValueError")
    before = {job_id: shop.row(job_id) for job_id in (done, pending, running, canceled)}
    refused = shop.convex("scheduled", "retry", *before, failed)
    assert refused.status == 1
    for reason in ("has succeeded", "is pending already", "is running", "was canceled while it ran"):
        assert reason in refused.err
    assert failed in refused.out
    assert {job_id: shop.row(job_id) for job_id in before} == before
    assert states(shop, failed) == ["pending"]
    outcomes = [step["outcome"] for step in shop.convex("scheduled", "retry", done, UNKNOWN, "--json").json]
    assert outcomes == ["refused", "unknown"]


def test_a_retry_wakes_workers(shop: Errands, tmp_path: Path) -> None:
    """A retry wakes the workers of other processes at once."""
    job_id = shop.schedule("note", text="")
    fail(shop, job_id, "ValueError")
    with errands(tmp_path) as other:
        listener = other.backend.engine.notifications.listen()
        assert shop.convex("scheduled", "retry", job_id).status == 0
        began = time.monotonic()
        listener.wait(30)
        assert time.monotonic() - began < 15
        listener.close()
