"""`flask convex scheduled`."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.cli.output import moment
from flask_convex_http.schema.system_tables import ScheduledFunction
from flask_convex_http.testing import Clock, run_scheduled
from tests.cli.conftest import Convex
from tests.cli.errands import Errands, errands, make_app
from tests.databases import rows

UNKNOWN = "_scheduled_functions_" + "0" * 32
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Errands]:
    """The app with functions to schedule, on a clock that stands still."""
    with errands(tmp_path, clock=clock) as created:
        yield created


def start(shop: Errands, job_id: str) -> ScheduledFunction:
    """Start an action as a worker does."""
    backend = shop.backend
    job = shop.row(job_id)
    now = backend.clock()
    return backend.engine.write(lambda transaction: backend.jobs.start(transaction, job, now, "a worker", now + 30_000))


def fail(shop: Errands, job_id: str, error: str) -> None:
    """End a job as a worker does after a failure."""
    backend, job = shop.backend, shop.row(job_id)
    backend.engine.write(lambda transaction: backend.jobs.fail(transaction, job, backend.clock(), error))


def ids(shop: Errands, *options: str) -> list[str]:
    """Return the ids of a list, in its order."""
    return [job["_id"] for job in shop.convex("scheduled", "list", *options, "--json").json]


def states(shop: Errands, *job_ids: str) -> list[str]:
    """Return the states of jobs."""
    return [shop.row(job_id).state for job_id in job_ids]


# --- list ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_is_a_sentence(shop: Errands) -> None:
    """Without jobs, people read a sentence and programs an empty list."""
    assert "There are no jobs." in shop.convex("scheduled", "list").out
    assert "in the state failed" in shop.convex("scheduled", "list", "--state", "failed").out
    assert ids(shop) == []


def test_the_list_has_the_newest_job_first(shop: Errands, clock: Clock) -> None:
    """Without --state, the job that was scheduled last comes first, whenever the jobs are due."""
    late = shop.schedule("note", 3600, text="late")
    clock.advance(MINUTE)
    soon = shop.schedule("wait", 1, folder="/")
    assert ids(shop) == [soon, late]
    shown = shop.convex("scheduled", "list").out.splitlines()
    assert shown[0].split() == ["ID", "FUNCTION", "STATE", "DUE", "ENDED", "ATTEMPTS", "ERROR"]
    assert [line.split()[:3] for line in shown[1:]] == [
        [soon, "errands:wait", "pending"],
        [late, "errands:note", "pending"],
    ]
    assert ids(shop, "--limit", "1") == [soon]


def test_pending_jobs_come_in_the_order_of_their_time(shop: Errands) -> None:
    """Pending mutations and actions are one list, the job that is due first at its top, cut at the limit."""
    delays = {"note": [30, 10], "wait": [40, 20]}
    created = {
        delay: shop.schedule(name, delay, **({"text": ""} if name == "note" else {"folder": "/"}))
        for name in delays
        for delay in delays[name]
    }
    assert ids(shop, "--state", "pending") == [created[delay] for delay in (10, 20, 30, 40)]
    assert ids(shop, "--state", "pending", "--limit", "3") == [created[delay] for delay in (10, 20, 30)]
    assert ids(shop, "--state", "inProgress") == []


def test_failed_jobs_come_last_ended_first(shop: Errands, clock: Clock) -> None:
    """Failed jobs come last ended first, with a shortened error, which JSON has in full."""
    error = "ValueError: " + "too long " * 50
    first, second = (shop.schedule("note", text="") for _ in range(2))
    fail(shop, second, "first")
    clock.advance(MINUTE)
    fail(shop, first, error)
    assert ids(shop, "--state", "failed") == [first, second]
    shown = shop.convex("scheduled", "list", "--state", "failed").out
    assert "ValueError: too long" in shown and error not in shown
    listed = shop.convex("scheduled", "list", "--state", "failed", "--json").json
    assert listed[0]["error"] == error
    assert listed[0]["args"] == {"text": ""}


def test_a_retried_action_shows_its_error_and_next_attempt(shop: Errands, clock: Clock) -> None:
    """A pending action with a failed attempt shows its attempts, its last error and the time of the next one."""
    job_id = shop.schedule("wait_again", folder="/")
    job, backend = start(shop, job_id), shop.backend
    due = clock() + 90_000
    backend.engine.write(
        lambda transaction: backend.jobs.schedule_retry(transaction, job, clock(), due, "OSError: no line")
    )
    clock.advance(timedelta(seconds=90))
    (line,) = shop.convex("scheduled", "list").out.splitlines()[1:]
    assert line.endswith("1         OSError: no line")
    now = time.strftime("%H:%M:%SZ", time.gmtime(clock() / 1000))
    assert line.split()[4] == now


def test_a_list_does_not_read_all_jobs(shop: Errands, tmp_path: Path) -> None:
    """Each list takes less than half a second with 100,000 jobs."""
    rows(
        tmp_path,
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) "
        "insert into _scheduled_functions (_id, _creation_time, name, args, kind, state, scheduled_time, due) "
        "select printf('_scheduled_functions_%032x', i), i, 'errands:note', '{\"text\": \"\"}', 'mutation', "
        "case i % 2 when 0 then 'pending' else 'success' end, i, i from n",
    )
    for options in ([], ["--state", "pending"], ["--state", "success"], ["--state", "failed"]):
        began = time.process_time()
        assert shop.convex("scheduled", "list", *options).status == 0
        assert time.process_time() - began < 0.5, options


@pytest.mark.parametrize("options", [["--state", "lost"], ["--limit", "0"], ["--quickly"], ["more"]])
def test_a_wrong_list_is_wrong_usage(shop: Errands, options: list[str]) -> None:
    """Unknown states, limits and options are wrong usage."""
    assert shop.convex("scheduled", "list", *options).status == 2


# --- show ------------------------------------------------------------------------------------------------------------


def test_one_job_is_shown_in_full(shop: Errands) -> None:
    """A job is shown with its arguments, each attempt and its whole error."""
    error = "ValueError: " + "too long " * 50 + "\x1b[31m"
    job_id = shop.schedule("wait_again", folder="/srv")
    start(shop, job_id)
    fail(shop, job_id, error)
    shown = shop.convex("scheduled", "show", job_id).out
    assert "errands:wait_again (action)" in shown
    assert '{"folder":"/srv"}' in shown
    assert error.replace("\x1b", "\\x1b") in shown
    assert "OUTCOME" in shown
    found = shop.convex("scheduled", "show", job_id, "--json").json
    assert found["error"] == error
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["failed"]


@pytest.mark.parametrize("job_id", [UNKNOWN, "errands_" + "0" * 32, "nonsense", "", "\udcff"])
@pytest.mark.parametrize("command", ["show", "cancel", "pause", "resume", "retry"])
def test_an_unknown_id_is_an_error(shop: Errands, command: str, job_id: str) -> None:
    """An id of no job fails in one line that names it."""
    refused = shop.convex("scheduled", command, job_id)
    assert refused.status == 1
    assert refused.err.startswith("Error: There is no job")
    assert refused.out == ""
    assert refused.exception is None


# --- cancel ----------------------------------------------------------------------------------------------------------


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


# --- pause and resume ------------------------------------------------------------------------------------------------


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


# --- retry -----------------------------------------------------------------------------------------------------------


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


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["list", f"show {UNKNOWN}", f"cancel {UNKNOWN}", "cancel --all", "pause", "resume", f"retry {UNKNOWN}"]
)
def test_without_a_migration_the_error_names_the_command(tmp_path: Path, command: str) -> None:
    """Before the first migration, the error names the command to run."""
    app = make_app(tmp_path)
    refused = app.test_cli_runner().invoke(args=["convex", "scheduled", *command.split()])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr
    assert refused.stdout == ""


def test_a_group_without_a_command_is_wrong_usage(convex: Convex) -> None:
    """An unknown command of the group is wrong usage."""
    assert convex("scheduled", "nothing").status == 2
