"""`flask convex crons`."""

import datetime
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from flask_convex_http import Crons
from flask_convex_http.testing import Clock, run_scheduled
from tests.cli.errands import Errands, errands, make_app, need, note
from tests.databases import rows

HOUR = datetime.timedelta(hours=1)
NOON = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def crons() -> Crons:
    """One that succeeds and one that fails."""
    made = Crons()
    made.interval("sweep", 300, note, text="swept")
    made.daily("report", datetime.time(17, 30), "errands:need", text="milk")
    return made


def shop_with(folder: Path, crons: Crons | None, clock: Clock) -> AbstractContextManager[Errands]:
    """A version of the app on one and the same database."""
    return errands(folder, crons=crons, clock=clock)


@pytest.fixture
def shop(tmp_path: Path, crons: Crons, clock: Clock) -> Iterator[Errands]:
    """The app with its crons, at noon."""
    with shop_with(tmp_path, crons, clock) as made:
        yield made


def statuses(shop: Errands) -> dict[str, str]:
    """How code and database agree on each cron."""
    return {cron["name"]: cron["status"] for cron in shop.convex("crons", "--json").json}


def milliseconds(time: datetime.datetime) -> float:
    """As the database has it."""
    return time.timestamp() * 1000


def test_an_app_without_crons_says_how_to_begin(tmp_path: Path, clock: Clock) -> None:
    """Where there are none, people read a sentence and programs an empty list."""
    with shop_with(tmp_path, None, clock) as shop:
        assert "ConvexHTTP(crons=...)" in shop.convex("crons").out
        assert shop.convex("crons", "--json").json == []


def test_a_cron_that_no_worker_has_seen_says_so(shop: Errands) -> None:
    """Before a worker has started, schedule and function are those of the code, and there is no next time."""
    shown = shop.convex("crons").out
    assert "every 300 s" in shown and "30 17 * * * UTC" in shown
    assert shown.count("no worker has seen it yet") == 2
    sweep, report = shop.convex("crons", "--json").json
    assert (sweep["name"], sweep["function"], report["function"]) == ("sweep", "errands:note", "errands:need")
    assert (sweep["next_tick"], sweep["last_run"], sweep["status"]) == (None, None, "new")


def test_where_serving_processes_do_not_work_the_worker_is_named(tmp_path: Path, crons: Crons) -> None:
    """With CONVEX_WORKER off a note says which command runs the crons."""
    with errands(tmp_path, crons=crons, CONVEX_WORKER="off") as shop:
        assert "flask convex worker" in shop.convex("crons").err


def test_the_next_time_and_the_last_run_are_shown(shop: Errands) -> None:
    """After a firing each cron has its next time; one that has fired has the time, the function and its result."""
    run_scheduled(shop.app)
    sweep, report = shop.convex("crons", "--json").json
    assert sweep["next_tick"] == milliseconds(NOON + datetime.timedelta(minutes=5))
    assert (sweep["last_run"]["tick"], sweep["last_run"]["state"]) == (milliseconds(NOON), "success")
    assert shop.row(sweep["last_run"]["job"]).name == "errands:note"
    assert report["next_tick"] == milliseconds(NOON + HOUR * 5.5)
    assert report["last_run"] is None
    assert statuses(shop) == {"sweep": "active", "report": "active"}
    heading, first, second = shop.convex("crons").out.splitlines()
    assert heading.split() == ["NAME", "SCHEDULE", "FUNCTION", "NEXT", "LAST", "RESULT", "NOTE"]
    assert first.endswith("2026-03-02 12:05:00Z  2026-03-02 12:00:00Z  success")
    assert second.endswith("2026-03-02 17:30:00Z  never")


def test_a_run_that_failed_shows_its_error(shop: Errands) -> None:
    """The result has the error of the last run, the newest one."""
    run_scheduled(shop.app, advance=HOUR * 30)
    report = shop.convex("crons", "--json").json[1]
    assert report["last_run"]["tick"] == milliseconds(NOON + HOUR * 29.5)
    assert (report["last_run"]["state"], report["last_run"]["error"]) == (
        "failed",
        "LookupError: Nobody has noted milk",
    )
    assert "failed: LookupError: Nobody has noted " in shop.convex("crons").out


def test_a_run_whose_row_is_gone_is_still_a_run(shop: Errands, tmp_path: Path) -> None:
    """What ended long ago is forgotten; that the cron fired then is not."""
    run_scheduled(shop.app)
    rows(tmp_path, "delete from _scheduled_functions")
    sweep = shop.convex("crons", "--json").json[0]
    assert (sweep["last_run"]["tick"], sweep["last_run"]["state"]) == (milliseconds(NOON), None)
    assert "forgotten" in shop.convex("crons").out


def test_a_cron_that_was_changed_says_so_until_a_worker_starts(shop: Errands, tmp_path: Path, clock: Clock) -> None:
    """Another schedule, function or argument in the code shows as changed, with what the workers have."""
    run_scheduled(shop.app)
    for every, function, text in ((600, note, "swept"), (300, need, "swept"), (300, note, "dusted")):
        changed = Crons()
        changed.interval("sweep", every, function, text=text)
        with shop_with(tmp_path, changed, clock) as newer:
            sweep = newer.convex("crons", "--json").json[0]
            assert (sweep["schedule"], sweep["function"], sweep["status"]) == ("every 300 s", "errands:note", "changed")
            assert "restart" in newer.convex("crons").out
    with shop_with(tmp_path, changed, clock) as newer:
        run_scheduled(newer.app)
        assert statuses(newer) == {"sweep": "active"}


def test_a_cron_that_is_not_in_the_code_is_listed(shop: Errands, tmp_path: Path, clock: Clock) -> None:
    """One that was removed is shown until a worker starts that does not have it."""
    run_scheduled(shop.app)
    with shop_with(tmp_path, None, clock) as newer:
        assert statuses(newer) == {"sweep": "removed", "report": "removed"}
        assert newer.convex("crons").out.count("not in the code any more") == 2
        run_scheduled(newer.app)
        assert statuses(newer) == {}


def test_without_a_migration_the_message_says_what_to_run(tmp_path: Path, crons: Crons) -> None:
    """Before the first migration the command to run is named."""
    app = make_app(tmp_path, crons=crons)
    refused = app.test_cli_runner().invoke(args=["convex", "crons"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr


def test_an_unknown_option_is_wrong_usage(shop: Errands) -> None:
    """It ends with status 2."""
    assert shop.convex("crons", "--all").status == 2
