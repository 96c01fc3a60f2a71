"""`flask convex scheduled pause` and `resume`."""

from flask_convex_http.testing import run_scheduled
from tests.cli.errands import Errands
from tests.cli.scheduled.jobs import UNKNOWN, ids, start, states


def test_a_paused_job_waits_until_it_is_resumed(shop: Errands) -> None:
    """A paused job is listed as paused, does not run, and runs once it is resumed."""
    paused, other = shop.schedule("note", text="paused"), shop.schedule("note", text="other")
    assert "is paused" in shop.convex("scheduled", "pause", paused).out
    run_scheduled(shop.app)
    assert (states(shop, paused, other), ids(shop, "--state", "paused")) == (["paused", "success"], [paused])
    refused = shop.convex("scheduled", "pause", paused, other, UNKNOWN)
    assert refused.status == 1
    for reason in ("is paused already", "it has succeeded", "There is no job"):
        assert reason in refused.err
    assert "is pending again" in shop.convex("scheduled", "resume", paused).out
    run_scheduled(shop.app)
    assert shop.notes() == ["other", "paused"]
    again = shop.convex("scheduled", "resume", paused)
    assert (again.status, "is not paused" in again.err) == (1, True)


def test_a_paused_job_is_canceled(shop: Errands) -> None:
    """A paused job can be canceled, and --all leaves it paused."""
    job_id = shop.schedule("note", text="")
    shop.convex("scheduled", "pause", job_id)
    assert shop.convex("scheduled", "cancel", "--all", "--yes").out == "0 jobs canceled.\n"
    assert "is canceled" in shop.convex("scheduled", "cancel", job_id).out
    assert states(shop, job_id) == ["canceled"]


def test_all_jobs_are_paused(shop: Errands) -> None:
    """Without ids all jobs are paused, which the list says, until they are resumed."""
    running = shop.schedule("wait", folder="/")
    start(shop, running)
    paused = shop.convex("scheduled", "pause")
    assert "No job starts" in paused.out and "1 action running" in paused.out
    assert shop.convex("scheduled", "pause", "--all", "--json").json == {"paused": True, "running": 1}
    assert "All jobs are paused" in shop.convex("scheduled", "list").err
    assert shop.convex("scheduled", "resume").out == "Jobs start again.\n"
    assert shop.convex("scheduled", "resume", "--all").out == "Jobs were not paused.\n"
    assert shop.convex("scheduled", "resume", "--json").json == {"paused": False}
    assert shop.convex("scheduled", "list").err == ""
    assert shop.convex("scheduled", "pause", "--all", running).status == 2
