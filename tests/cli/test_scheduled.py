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

NOBODY = "_scheduled_functions_" + "0" * 32
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path, clock: Clock) -> Iterator[Errands]:
    """The app with something to schedule, on a clock that stands still."""
    with errands(tmp_path, clock=clock) as made:
        yield made


def start(shop: Errands, job_id: str) -> ScheduledFunction:
    """Take an action as a worker does."""
    backend = shop.backend
    job = shop.row(job_id)
    now = backend.clock()
    return backend.engine.write(lambda transaction: backend.jobs.start(transaction, job, now, "a worker", now + 30_000))


def fail(shop: Errands, job_id: str, error: str) -> None:
    """End it as a worker does when it failed."""
    backend, job = shop.backend, shop.row(job_id)
    backend.engine.write(lambda transaction: backend.jobs.fail(transaction, job, backend.clock(), error))


def ids(shop: Errands, *options: str) -> list[str]:
    """The ids that a list has, in its order."""
    return [job["_id"] for job in shop.convex("scheduled", "list", *options, "--json").json]


def states(shop: Errands, *job_ids: str) -> list[str]:
    """The states of scheduled functions."""
    return [shop.row(job_id).state for job_id in job_ids]


# --- list ------------------------------------------------------------------------------------------------------------


def test_an_empty_list_is_a_sentence(shop: Errands) -> None:
    """Where nothing was scheduled, people read a sentence and programs an empty list."""
    assert "no scheduled functions" in shop.convex("scheduled", "list").out
    assert "in the state failed" in shop.convex("scheduled", "list", "--state", "failed").out
    assert ids(shop) == []


def test_the_list_has_what_was_scheduled_last_first(shop: Errands, clock: Clock) -> None:
    """Without a state the order is that of scheduling, backwards, whenever they are due."""
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


def test_what_is_pending_comes_in_the_order_of_its_time(shop: Errands) -> None:
    """Mutations and actions are one list: what is due first comes first, and the limit cuts off the rest."""
    delays = {"note": [30, 10], "wait": [40, 20]}
    made = {
        delay: shop.schedule(name, delay, **({"text": ""} if name == "note" else {"folder": "/"}))
        for name in delays
        for delay in delays[name]
    }
    assert ids(shop, "--state", "pending") == [made[delay] for delay in (10, 20, 30, 40)]
    assert ids(shop, "--state", "pending", "--limit", "3") == [made[delay] for delay in (10, 20, 30)]
    assert ids(shop, "--state", "inProgress") == []


def test_what_has_failed_last_comes_first(shop: Errands, clock: Clock) -> None:
    """The list has the beginning of each error, JSON all of it."""
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


def test_what_is_tried_again_shows_why_and_when(shop: Errands, clock: Clock) -> None:
    """A pending action that has failed before has its attempts, its last error, and the time of the next attempt."""
    job_id = shop.schedule("wait_again", folder="/")
    job, backend = start(shop, job_id), shop.backend
    due = clock() + 90_000
    backend.engine.write(lambda transaction: backend.jobs.postpone(transaction, job, clock(), due, "OSError: no line"))
    clock.advance(timedelta(seconds=90))
    (line,) = shop.convex("scheduled", "list").out.splitlines()[1:]
    assert line.endswith("1         OSError: no line")
    now = time.strftime("%H:%M:%SZ", time.gmtime(clock() / 1000))
    assert line.split()[4] == now


def test_a_hundred_thousand_rows_are_not_read(shop: Errands, tmp_path: Path) -> None:
    """Each list takes a moment, however many rows there are."""
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
    """Unknown states, limits and options end with status 2."""
    assert shop.convex("scheduled", "list", *options).status == 2


# --- show ------------------------------------------------------------------------------------------------------------


def test_everything_about_one_is_shown(shop: Errands) -> None:
    """One scheduled function is shown with its arguments, each attempt, and its whole error."""
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


@pytest.mark.parametrize("job_id", [NOBODY, "errands_" + "0" * 32, "nonsense", "", "\udcff"])
@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_what_is_not_there_is_an_error(shop: Errands, command: str, job_id: str) -> None:
    """An id of no scheduled function fails in one line that names it."""
    refused = shop.convex("scheduled", command, job_id)
    assert refused.status == 1
    assert refused.err.startswith("Error: There is no scheduled function")
    assert refused.out == ""
    assert refused.exception is None


# --- cancel ----------------------------------------------------------------------------------------------------------


def test_what_is_pending_is_canceled(shop: Errands) -> None:
    """It never runs; doing it again changes nothing and is no failure."""
    job_id = shop.schedule("note", text="unwanted")
    assert "is canceled" in shop.convex("scheduled", "cancel", job_id).out
    assert run_scheduled(shop.app) == []
    assert (states(shop, job_id), shop.notes()) == (["canceled"], [])
    again = shop.convex("scheduled", "cancel", job_id)
    assert again.status == 0
    assert "has ended before: canceled" in again.out


def test_what_runs_goes_on_and_that_is_said(shop: Errands) -> None:
    """An action in progress is marked and goes on; it is not tried again when it fails."""
    job_id = shop.schedule("wait_again", folder="/")
    job, backend = start(shop, job_id), shop.backend
    canceled = shop.convex("scheduled", "cancel", job_id)
    assert canceled.status == 0
    assert "runs already and goes on" in canceled.out
    now = backend.clock()
    backend.engine.write(lambda transaction: backend.jobs.postpone(transaction, job, now, now, "OSError"))
    assert states(shop, job_id) == ["canceled"]


def test_each_id_gets_its_answer(shop: Errands) -> None:
    """Of several ids those that are there are dealt with; one that is not makes the exit status 1."""
    pending, done, running = (
        shop.schedule("note", text=""),
        shop.schedule("note", text=""),
        shop.schedule("wait", folder="/"),
    )
    fail(shop, done, "ValueError")
    start(shop, running)
    canceled = shop.convex("scheduled", "cancel", pending, done, running, NOBODY, pending, "--json")
    assert canceled.status == 1
    assert NOBODY in canceled.err
    assert [(step["_id"], step["outcome"]) for step in canceled.json] == [
        (pending, "canceled"),
        (done, "ended"),
        (running, "running"),
        (NOBODY, "unknown"),
    ]
    assert states(shop, pending, done, running) == ["canceled", "failed", "canceled"]


def test_all_that_is_pending_is_canceled(shop: Errands) -> None:
    """More than one transaction takes are all canceled; what runs or has ended is left alone."""
    ctx = shop.backend.ctx()
    pending = [ctx.scheduler.run_after(60, "errands:note", text=str(number)) for number in range(501)]
    running, failed = shop.schedule("wait", folder="/"), shop.schedule("note", text="")
    start(shop, running)
    fail(shop, failed, "ValueError")
    canceled = shop.convex("scheduled", "cancel", "--all", "--yes", "--json")
    assert canceled.json == {"canceled": 501, "pending": 0}
    assert set(states(shop, *pending)) == {"canceled"}
    assert states(shop, running, failed) == ["inProgress", "failed"]


def test_all_of_one_function_are_canceled(shop: Errands) -> None:
    """With a function's name the others stay."""
    note, wait = shop.schedule("note", text=""), shop.schedule("wait", folder="/")
    canceled = shop.convex("scheduled", "cancel", "--all", "--function", "errands:wait", "--yes")
    assert canceled.out == "1 function canceled.\n"
    assert states(shop, note, wait) == ["pending", "canceled"]


def test_canceling_all_asks_first(shop: Errands) -> None:
    """It says how many there are, and without a yes nothing is changed."""
    job_id = shop.schedule("note", text="")
    asked = shop.convex("scheduled", "cancel", "--all", stdin="n\n")
    assert asked.status == 1
    assert "1 pending function will be canceled" in asked.err
    assert states(shop, job_id) == ["pending"]
    assert shop.convex("scheduled", "cancel", "--all", stdin="y\n").status == 0
    assert states(shop, job_id) == ["canceled"]
    assert shop.convex("scheduled", "cancel", "--all").out == "0 functions canceled.\n"


@pytest.mark.parametrize("options", [[], ["--all", NOBODY], ["--function", "errands:note", NOBODY], ["--yes", NOBODY]])
def test_canceling_needs_ids_or_all(shop: Errands, options: list[str]) -> None:
    """Neither, both, and options that go with the other are wrong usage."""
    assert shop.convex("scheduled", "cancel", *options).status == 2


# --- retry -----------------------------------------------------------------------------------------------------------


def test_what_has_failed_runs_again(shop: Errands) -> None:
    """It keeps its id, and its error goes when it succeeds."""
    job_id = shop.schedule("need", text="milk")
    run_scheduled(shop.app)
    assert (shop.row(job_id).state, shop.row(job_id).error) == ("failed", "LookupError: Nobody has noted milk")
    shop.schedule("note", text="milk")
    run_scheduled(shop.app)
    tried = shop.convex("scheduled", "retry", job_id)
    assert (tried.status, "will run again" in tried.out) == (0, True)
    assert [(job.id, job.state) for job in run_scheduled(shop.app)] == [(job_id, "success")]
    assert shop.row(job_id).error is None


def test_what_was_canceled_runs_again(shop: Errands) -> None:
    """What was canceled in time is pending again; what is not due yet has its time still, and the command says it."""
    now, later = shop.schedule("note", text="now"), shop.schedule("note", 3600, text="later")
    shop.convex("scheduled", "cancel", now, later)
    tried = shop.convex("scheduled", "retry", now, later)
    assert (tried.status, "will run again." in tried.out) == (0, True)
    assert f"will run at {moment(shop.row(later).scheduled_time)}." in tried.out
    run_scheduled(shop.app)
    assert (states(shop, now, later), shop.notes()) == (["success", "pending"], ["now"])


def test_attempts_are_counted_on(shop: Errands, tmp_path: Path) -> None:
    """An action that runs again keeps the log of its attempts before."""
    (tmp_path / "go").touch()
    job_id = shop.schedule("wait", folder=str(tmp_path))
    start(shop, job_id)
    fail(shop, job_id, "OSError")
    shop.convex("scheduled", "retry", job_id)
    run_scheduled(shop.app)
    assert [attempt.outcome for attempt in shop.row(job_id).attempts] == ["failed", "success"]
    assert shop.notes() == ["attempt 2"]


def test_what_has_not_failed_is_not_run_again(shop: Errands) -> None:
    """Each is refused with its reason and stays as it is; what can be run again with it is."""
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
    for reason in ("has done what", "is to run already", "runs at the moment", "was canceled while it ran"):
        assert reason in refused.err
    assert failed in refused.out
    assert {job_id: shop.row(job_id) for job_id in before} == before
    assert states(shop, failed) == ["pending"]
    outcomes = [step["outcome"] for step in shop.convex("scheduled", "retry", done, NOBODY, "--json").json]
    assert outcomes == ["refused", "unknown"]


def test_a_retry_wakes_who_waits(shop: Errands, tmp_path: Path) -> None:
    """A worker of another process is called, so that it need not look by itself."""
    job_id = shop.schedule("note", text="")
    fail(shop, job_id, "ValueError")
    with errands(tmp_path) as other:
        listener = other.backend.engine.listen()
        assert shop.convex("scheduled", "retry", job_id).status == 0
        began = time.monotonic()
        listener.wait(30)
        assert time.monotonic() - began < 15
        listener.close()


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", f"show {NOBODY}", f"cancel {NOBODY}", "cancel --all", f"retry {NOBODY}"])
def test_without_a_migration_the_message_says_what_to_run(tmp_path: Path, command: str) -> None:
    """Before the first migration each names the command to run."""
    app = make_app(tmp_path)
    refused = app.test_cli_runner().invoke(args=["convex", "scheduled", *command.split()])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr
    assert refused.stdout == ""


def test_a_group_without_a_command_is_wrong_usage(convex: Convex) -> None:
    """`flask convex scheduled nothing` ends with status 2."""
    assert convex("scheduled", "nothing").status == 2
