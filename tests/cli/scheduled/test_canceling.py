"""`flask convex scheduled cancel`."""

from pathlib import Path

import pytest

from flask_convex_http.testing import run_scheduled
from tests.cli.errands import Errands
from tests.cli.scheduled.jobs import UNKNOWN, fail, start, states
from tests.databases import rows


def test_a_pending_job_is_canceled(shop: Errands) -> None:
    """A canceled job never runs, and to cancel it again changes nothing and is no failure."""
    job_id = shop.schedule("note", text="unwanted")
    assert "is canceled" in shop.convex("scheduled", "cancel", job_id).out
    assert run_scheduled(shop.app) == []
    assert (states(shop, job_id), shop.notes()) == (["canceled"], [])
    again = shop.convex("scheduled", "cancel", job_id)
    assert again.status == 0
    assert "has ended already: canceled" in again.out


def test_a_running_action_continues(shop: Errands) -> None:
    """A running action that is canceled continues, and is not retried when it fails."""
    job_id = shop.schedule("wait_again", folder="/")
    job, backend = start(shop, job_id), shop.backend
    canceled = shop.convex("scheduled", "cancel", job_id)
    assert canceled.status == 0
    assert "is running and continues" in canceled.out
    now = backend.clock()
    backend.engine.write(lambda transaction: backend.jobs.schedule_retry(transaction, job, now, now, "OSError"))
    assert states(shop, job_id) == ["canceled"]


def test_each_id_has_a_result(shop: Errands) -> None:
    """Each of several ids has a result, and an unknown one makes the exit status 1."""
    pending, done, running = (
        shop.schedule("note", text=""),
        shop.schedule("note", text=""),
        shop.schedule("wait", folder="/"),
    )
    fail(shop, done, "ValueError")
    start(shop, running)
    canceled = shop.convex("scheduled", "cancel", pending, done, running, UNKNOWN, pending, "--json")
    assert canceled.status == 1
    assert UNKNOWN in canceled.err
    assert [(step["_id"], step["outcome"]) for step in canceled.json] == [
        (pending, "canceled"),
        (done, "ended"),
        (running, "running"),
        (UNKNOWN, "unknown"),
    ]
    assert states(shop, pending, done, running) == ["canceled", "failed", "canceled"]


def test_all_pending_jobs_are_canceled(shop: Errands) -> None:
    """--all cancels more jobs than one transaction has, and leaves running and ended ones alone."""
    ctx = shop.backend.ctx()
    pending = [ctx.scheduler.run_after(60, "errands:note", text=str(number)) for number in range(501)]
    running, failed = shop.schedule("wait", folder="/"), shop.schedule("note", text="")
    start(shop, running)
    fail(shop, failed, "ValueError")
    canceled = shop.convex("scheduled", "cancel", "--all", "--yes", "--json")
    assert canceled.json == {"canceled": 501, "pending": 0}
    assert set(states(shop, *pending)) == {"canceled"}
    assert states(shop, running, failed) == ["inProgress", "failed"]


def test_all_jobs_of_one_function_are_canceled(shop: Errands) -> None:
    """--all with --function leaves the jobs of other functions alone."""
    note, wait = shop.schedule("note", text=""), shop.schedule("wait", folder="/")
    canceled = shop.convex("scheduled", "cancel", "--all", "--function", "errands:wait", "--yes")
    assert canceled.out == "1 job canceled.\n"
    assert states(shop, note, wait) == ["pending", "canceled"]


def test_canceling_the_jobs_of_an_unknown_function_is_an_error(shop: Errands) -> None:
    """A misspelt name is an error that has similar names. A function without jobs has 0 of them."""
    unknown = shop.convex("scheduled", "cancel", "--all", "--function", "errands:waitt", "--yes", "--json")
    assert (unknown.status, unknown.out) == (1, "")
    assert "Could not find function 'errands:waitt'; did you mean errands:wait?" in unknown.err
    known = shop.convex("scheduled", "cancel", "--all", "--function", "errands:wait", "--yes")
    assert (known.status, known.out) == (0, "0 jobs canceled.\n")


def test_the_jobs_of_a_removed_function_are_canceled(shop: Errands, tmp_path: Path) -> None:
    """Jobs whose function the app no longer has are canceled by its name."""
    removed = shop.schedule("note", text="")
    rows(tmp_path, "update _scheduled_functions set name = 'errands:gone'")
    canceled = shop.convex("scheduled", "cancel", "--all", "--function", "errands:gone", "--yes")
    assert (canceled.status, canceled.out) == (0, "1 job canceled.\n")
    assert states(shop, removed) == ["canceled"]


def test_canceling_all_asks_for_confirmation(shop: Errands) -> None:
    """--all without --yes says how many jobs there are and asks; after a no nothing is changed."""
    job_id = shop.schedule("note", text="")
    asked = shop.convex("scheduled", "cancel", "--all", stdin="n\n")
    assert asked.status == 1
    assert "1 pending job will be canceled" in asked.err
    assert states(shop, job_id) == ["pending"]
    assert shop.convex("scheduled", "cancel", "--all", stdin="y\n").status == 0
    assert states(shop, job_id) == ["canceled"]
    assert shop.convex("scheduled", "cancel", "--all").out == "0 jobs canceled.\n"


@pytest.mark.parametrize(
    "options", [[], ["--all", UNKNOWN], ["--function", "errands:note", UNKNOWN], ["--yes", UNKNOWN]]
)
def test_canceling_needs_ids_or_all(shop: Errands, options: list[str]) -> None:
    """Neither ids nor --all, both, and options of --all with ids are wrong usage."""
    assert shop.convex("scheduled", "cancel", *options).status == 2
