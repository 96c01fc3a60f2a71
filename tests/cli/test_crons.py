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
    """A cron that succeeds and one that fails."""
    created = Crons()
    created.interval("sweep", 300, note, text="swept")
    created.daily("report", datetime.time(17, 30), "errands:need", text="milk")
    return created


def shop_with(folder: Path, crons: Crons | None, clock: Clock) -> AbstractContextManager[Errands]:
    """Open a version of the app on the same database."""
    return errands(folder, crons=crons, clock=clock)


@pytest.fixture
def shop(tmp_path: Path, crons: Crons, clock: Clock) -> Iterator[Errands]:
    """The app with its crons, at noon."""
    with shop_with(tmp_path, crons, clock) as created:
        yield created


def statuses(shop: Errands) -> dict[str, str]:
    """Return the status of each cron."""
    return {cron["name"]: cron["status"] for cron in shop.convex("crons", "--json").json}


def milliseconds(time: datetime.datetime) -> float:
    """Return a time in milliseconds since the epoch."""
    return time.timestamp() * 1000


def test_an_app_without_crons_says_how_to_begin(tmp_path: Path, clock: Clock) -> None:
    """Without crons, people read how to define one and programs an empty list."""
    with shop_with(tmp_path, None, clock) as shop:
        assert "ConvexHTTP(crons=...)" in shop.convex("crons").out
        assert shop.convex("crons", "--json").json == []


def test_a_cron_that_is_not_in_the_database_has_a_note(shop: Errands) -> None:
    """Before a worker has started, a cron has the schedule and function of the code and no next tick."""
    shown = shop.convex("crons").out
    assert "every 300 s" in shown and "30 17 * * * UTC" in shown
    assert shown.count("not in the database yet") == 2
    sweep, report = shop.convex("crons", "--json").json
    assert (sweep["name"], sweep["function"], report["function"]) == ("sweep", "errands:note", "errands:need")
    assert (sweep["next_tick"], sweep["last_run"], sweep["status"]) == (None, None, "new")


def test_without_background_workers_the_command_is_named(tmp_path: Path, crons: Crons) -> None:
    """With CONVEX_WORKER=off, a note names the command that runs the crons."""
    with errands(tmp_path, crons=crons, CONVEX_WORKER="off") as shop:
        assert "flask convex worker" in shop.convex("crons").err


def test_the_next_tick_and_the_last_run_are_shown(shop: Errands) -> None:
    """After a tick, a cron has its next tick and the time, the job and the result of its last run."""
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
    """The result has the error of the newest run."""
    run_scheduled(shop.app, advance=HOUR * 30)
    report = shop.convex("crons", "--json").json[1]
    assert report["last_run"]["tick"] == milliseconds(NOON + HOUR * 29.5)
    assert (report["last_run"]["state"], report["last_run"]["error"]) == (
        "failed",
        "LookupError: Nobody has noted milk",
    )
    assert "failed: LookupError: Nobody has noted" in shop.convex("crons").out


def test_a_run_whose_job_was_purged_is_shown(shop: Errands, tmp_path: Path) -> None:
    """The last run of a cron is shown although its job has been purged."""
    run_scheduled(shop.app)
    rows(tmp_path, "delete from _scheduled_functions")
    sweep = shop.convex("crons", "--json").json[0]
    assert (sweep["last_run"]["tick"], sweep["last_run"]["state"]) == (milliseconds(NOON), None)
    assert "purged" in shop.convex("crons").out


def test_a_changed_cron_has_a_note_until_a_worker_starts(shop: Errands, tmp_path: Path, clock: Clock) -> None:
    """A cron with another schedule, function or argument in the code is shown as the workers run it, as changed."""
    run_scheduled(shop.app)
    for every, function, text in ((600, note, "swept"), (300, need, "swept"), (300, note, "dusted")):
        changed = Crons()
        changed.interval("sweep", every, function, text=text)
        with shop_with(tmp_path, changed, clock) as newer:
            sweep = newer.convex("crons", "--json").json[0]
            assert (sweep["schedule"], sweep["function"], sweep["status"]) == ("every 300 s", "errands:note", "changed")
            assert sweep["interval_ms"] == 300_000
            assert "restart" in newer.convex("crons").out
    with shop_with(tmp_path, changed, clock) as newer:
        run_scheduled(newer.app)
        assert statuses(newer) == {"sweep": "active"}


def test_a_removed_cron_is_listed(shop: Errands, tmp_path: Path, clock: Clock) -> None:
    """A cron that was removed from the code is listed until a worker starts without it."""
    run_scheduled(shop.app)
    with shop_with(tmp_path, None, clock) as newer:
        assert statuses(newer) == {"sweep": "removed", "report": "removed"}
        assert newer.convex("crons").out.count("not in the code any more") == 2
        run_scheduled(newer.app)
        assert statuses(newer) == {}


def test_without_a_migration_the_error_names_the_command(tmp_path: Path, crons: Crons) -> None:
    """Before the first migration, the error names the command to run."""
    app = make_app(tmp_path, crons=crons)
    refused = app.test_cli_runner().invoke(args=["convex", "crons"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr


def test_an_unknown_option_is_wrong_usage(shop: Errands) -> None:
    """An unknown option is wrong usage."""
    assert shop.convex("crons", "--all").status == 2
