"""`flask convex scheduled list` and `show`, and their errors, which all commands of the group have."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from flask_convex_http.testing import Clock
from tests.cli.conftest import Convex
from tests.cli.errands import Errands, make_app
from tests.cli.scheduled.jobs import UNKNOWN, fail, ids, start
from tests.databases import rows

MINUTE = timedelta(minutes=1)


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
