"""`flask convex worker`, as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.errands import Errands, create_app_with_a_cron, errands, make_app

ROOT = Path(__file__).parents[2]
#: Seconds anything here may take before it counts as stuck; far more than it needs.
PATIENCE = 60.0


class Working:
    """A worker process.

    Args:
        folder: Where its database is.
        options: Its options.
        app: What makes its app, in `tests.cli.errands`.
    """

    def __init__(self, folder: Path, *options: str, app: str) -> None:
        self._out, self._err = folder / "worker-out", folder / "worker-err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", f"tests.cli.errands:{app}", "convex", "worker", *options],
                cwd=ROOT,
                env=os.environ | {"ERRANDS_FOLDER": str(folder)},
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """What it has printed for programs."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed for people."""
        return self._err.read_text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is true while it runs."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, f"The worker ended before {what}:\n{self.err}"
            assert time.monotonic() < end, f"Not yet: {what}\n{self.err}"
            time.sleep(0.01)

    def says(self, text: str) -> None:
        """Wait until it says something."""
        self.until(lambda: text in self.err, f"it said {text!r}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end, and answer its exit status."""
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


@contextmanager
def working(folder: Path, *options: str, app: str = "create_app") -> Iterator[Working]:
    """A worker that has started; killed at the end if it still runs."""
    process = Working(folder, *options, app=app)
    try:
        process.says("Working")
        yield process
    finally:
        process.kill()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Errands]:
    """The app in this process, on the same database."""
    with errands(tmp_path) as made:
        yield made


def begin(shop: Errands, worker: Working, name: str, folder: Path) -> str:
    """Have the worker run an action that waits for a sign."""
    folder.mkdir()
    job_id = shop.schedule(name, folder=str(folder))
    worker.until((folder / "started-1").exists, f"{name} started")
    return job_id


def has_ended(shop: Errands, job_id: str) -> bool:
    """Whether a scheduled function has."""
    return shop.row(job_id).completed_time is not None


# --- working ---------------------------------------------------------------------------------------------------------


def test_what_another_process_schedules_runs_within_moments(shop: Errands, tmp_path: Path) -> None:
    """The worker is called; by itself it would take seconds to look again after each."""
    with working(tmp_path) as worker:
        texts = [str(number) for number in range(4)]
        for text in texts:
            job_id = shop.schedule("note", text=text)
            worker.until(lambda job_id=job_id: has_ended(shop, job_id), "it ran")  # type: ignore[misc]
            if text == texts[0]:
                began = time.monotonic()
        assert time.monotonic() - began < 5
    assert shop.notes() == texts


def test_what_comes_later_runs_at_its_time(shop: Errands, tmp_path: Path) -> None:
    """Not before, and soon after, though nobody calls then."""
    with working(tmp_path) as worker:
        job_id = shop.schedule("note", 1.0, text="later")
        worker.until(lambda: has_ended(shop, job_id), "it ran")
    job = shop.row(job_id)
    assert job.completed_time is not None
    assert 0 <= job.completed_time - job.scheduled_time < 2000


def test_the_worker_runs_the_crons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron of the app is known to the database once a worker has started, and fires."""
    with errands(tmp_path) as shop, working(tmp_path, app="create_app_with_a_cron") as worker:
        worker.until(shop.notes, "the cron fired")
    monkeypatch.setenv("ERRANDS_FOLDER", str(tmp_path))
    app = create_app_with_a_cron()
    listed = json.loads(app.test_cli_runner().invoke(args=["convex", "crons", "--json"]).stdout)
    app.extensions["convex_http"].close()
    assert [(cron["name"], cron["status"], cron["last_run"]["state"]) for cron in listed] == [
        ("sweep", "active", "success")
    ]


def test_the_other_commands_work_meanwhile(shop: Errands, tmp_path: Path) -> None:
    """What a worker runs is listed, canceled and refused a retry from another process; what failed runs again there."""
    with working(tmp_path) as worker:
        job_id = begin(shop, worker, "wait", tmp_path / "wait")
        (listed,) = shop.convex("scheduled", "list", "--state", "inProgress", "--json").json
        assert listed["_id"] == job_id
        assert "runs at the moment" in shop.convex("scheduled", "retry", job_id).err
        assert "goes on" in shop.convex("scheduled", "cancel", job_id).out
        assert "nobody has seen it end" in shop.convex("scheduled", "retry", job_id).err
        (tmp_path / "wait" / "go").touch()
        worker.until(lambda: has_ended(shop, job_id), "the action ended")
        assert shop.row(job_id).state == "canceled"
        assert shop.convex("scheduled", "retry", job_id).status == 0
        worker.until(lambda: shop.row(job_id).state == "success", "it ran again")
    assert shop.notes() == ["attempt 1", "attempt 2"]


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(shop: Errands, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end it with status 0; with --json stdout is one document."""
    with working(tmp_path, "--json") as worker:
        worker.send(number)
        assert worker.end() == 0
        assert json.loads(worker.out) == {"stopped_by": number.name}
        assert "Stopped." in worker.err
        assert "Traceback" not in worker.err


def test_an_action_may_end_while_it_stops(shop: Errands, tmp_path: Path) -> None:
    """It waits for what runs, and takes nothing new meanwhile."""
    with working(tmp_path) as worker:
        job_id = begin(shop, worker, "wait", tmp_path / "wait")
        worker.send(signal.SIGTERM)
        worker.says("Stopping")
        new = shop.schedule("note", text="new")
        time.sleep(0.3)
        (tmp_path / "wait" / "go").touch()
        assert worker.end() == 0
        assert worker.out == ""
    assert (shop.row(job_id).state, shop.row(new).state) == ("success", "pending")
    assert shop.notes() == ["attempt 1"]


def assert_given_up(shop: Errands, once: str, again: str) -> None:
    """What may be tried again is pending with its attempt on record; the other has failed and says why."""
    assert (shop.row(once).state, shop.row(again).state) == ("failed", "pending")
    assert "was stopped" in (shop.row(once).error or "")
    for job_id in (once, again):
        assert [attempt.outcome for attempt in shop.row(job_id).attempts] == ["stopped"]
    assert shop.notes() == []


def test_an_action_that_does_not_end_is_given_up(shop: Errands, tmp_path: Path) -> None:
    """After the grace it is handed back if it may be tried again, and has failed otherwise; another worker takes it."""
    with working(tmp_path, "--grace", "1") as worker:
        once = begin(shop, worker, "wait", tmp_path / "once")
        again = begin(shop, worker, "wait_again", tmp_path / "again")
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
        assert "Stopped." in worker.err
    assert_given_up(shop, once, again)
    (tmp_path / "again" / "go").touch()
    with working(tmp_path) as worker:
        worker.until(lambda: has_ended(shop, again), "the other worker ran it")
    assert shop.notes() == ["attempt 2"]


def test_a_second_signal_ends_the_waiting(shop: Errands, tmp_path: Path) -> None:
    """Who presses Ctrl-C twice does not wait for actions; they are given up in the same way."""
    with working(tmp_path, "--grace", "3600") as worker:
        once = begin(shop, worker, "wait", tmp_path / "once")
        again = begin(shop, worker, "wait_again", tmp_path / "again")
        worker.send(signal.SIGINT)
        worker.says("Stopping")
        worker.send(signal.SIGINT)
        assert worker.end() == 0
    assert_given_up(shop, once, again)


# --- starting --------------------------------------------------------------------------------------------------------


def test_without_a_migration_it_does_not_start(tmp_path: Path) -> None:
    """It names the command to run, ends with status 1, and leaves no files behind."""
    app = make_app(tmp_path)
    refused = app.test_cli_runner().invoke(args=["convex", "worker"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr
    assert refused.stderr.startswith("Error: ") and refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--grace", "-1"], ["--grace", "nan"], ["--grace", "long"], ["--quickly"], ["x"]])
def test_wrong_options_are_wrong_usage(shop: Errands, options: list[str]) -> None:
    """What is not understood ends with status 2 before anything runs."""
    assert shop.convex("worker", *options).status == 2
