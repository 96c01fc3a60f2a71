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

from tests.child_processes import ROOT
from tests.cli.errands import Errands, create_app_with_a_cron, errands, make_app
from tests.lengths import LONG
from tests.timing import is_below

#: Seconds that each wait of these tests may take. None needs a tenth of it.
TIMEOUT = 60.0


class WorkerProcess:
    """A worker process.

    Args:
        folder: The folder of its database.
        options: The options of the command.
        app: The factory of its app, in `tests.cli.errands`.
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
        """The output on stdout."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """The output on stderr."""
        return self._err.read_text()

    def wait_until(self, condition: Callable[[], object], event: str) -> None:
        """Wait for a condition while the process runs."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert self._process.poll() is None, f"The worker ended before {event}:\n{self.err}"
            assert time.monotonic() < end, f"Not yet: {event}\n{self.err}"
            time.sleep(0.01)

    def wait_for_output(self, text: str) -> None:
        """Wait for a text on stderr."""
        self.wait_until(lambda: text in self.err, f"it printed {text!r}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for the end of the process, and return its exit status."""
        return self._process.wait(TIMEOUT)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()


@contextmanager
def working(folder: Path, *options: str, app: str = "create_app") -> Iterator[WorkerProcess]:
    """Start a worker process, and kill it at the end if it still runs."""
    process = WorkerProcess(folder, *options, app=app)
    try:
        process.wait_for_output("The worker runs")
        yield process
    finally:
        process.kill()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Errands]:
    """The app in this process, on the same database."""
    with errands(tmp_path) as created:
        yield created


def begin(shop: Errands, worker: WorkerProcess, name: str, folder: Path) -> str:
    """Let the worker run an action that waits for a file."""
    folder.mkdir()
    job_id = shop.schedule(name, folder=str(folder))
    worker.wait_until((folder / "started-1").exists, f"{name} started")
    return job_id


def has_ended(shop: Errands, job_id: str) -> bool:
    """Return whether a job has ended."""
    return shop.row(job_id).completed_time is not None


# --- running ---------------------------------------------------------------------------------------------------------


def test_jobs_of_another_process_run_at_once(shop: Errands, tmp_path: Path) -> None:
    """A job that another process schedules wakes the worker, which polls only every few seconds."""
    with working(tmp_path) as worker:
        texts = [str(number) for number in range(4)]
        for text in texts:
            job_id = shop.schedule("note", text=text)
            worker.wait_until(lambda job_id=job_id: has_ended(shop, job_id), "it ran")  # type: ignore[misc]
            if text == texts[0]:
                began = time.monotonic()
        assert time.monotonic() - began < 5
    assert shop.notes() == texts


@LONG
def test_a_delayed_job_runs_at_its_time(shop: Errands, tmp_path: Path) -> None:
    """A delayed job runs within two seconds after its time, and not before."""
    with working(tmp_path) as worker:

        def seconds_late() -> float:
            job_id = shop.schedule("note", 1.0, text="later")
            worker.wait_until(lambda: has_ended(shop, job_id), "it ran")
            job = shop.row(job_id)
            assert job.completed_time is not None
            assert job.completed_time >= job.scheduled_time
            return (job.completed_time - job.scheduled_time) / 1000

        assert is_below(2, seconds_late)


@LONG
def test_the_worker_runs_the_crons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker registers the crons of the app and runs them."""
    with errands(tmp_path) as shop, working(tmp_path, app="create_app_with_a_cron") as worker:
        worker.wait_until(shop.notes, "the cron fired")
    monkeypatch.setenv("ERRANDS_FOLDER", str(tmp_path))
    app = create_app_with_a_cron()
    listed = json.loads(app.test_cli_runner().invoke(args=["convex", "crons", "--json"]).stdout)
    app.extensions["convex_http"].close()
    assert [(cron["name"], cron["status"], cron["last_run"]["state"]) for cron in listed] == [
        ("sweep", "active", "success")
    ]


@LONG
def test_other_commands_work_while_it_runs(shop: Errands, tmp_path: Path) -> None:
    """Another process lists and cancels a running action, and retries it once it has ended."""
    with working(tmp_path) as worker:
        job_id = begin(shop, worker, "wait", tmp_path / "wait")
        (listed,) = shop.convex("scheduled", "list", "--state", "inProgress", "--json").json
        assert listed["_id"] == job_id
        assert "it is running" in shop.convex("scheduled", "retry", job_id).err
        assert "continues" in shop.convex("scheduled", "cancel", job_id).out
        assert "has not ended yet" in shop.convex("scheduled", "retry", job_id).err
        (tmp_path / "wait" / "go").touch()
        worker.wait_until(lambda: has_ended(shop, job_id), "the action ended")
        assert shop.row(job_id).state == "canceled"
        assert shop.convex("scheduled", "retry", job_id).status == 0
        worker.wait_until(lambda: shop.row(job_id).state == "success", "it ran again")
    assert shop.notes() == ["attempt 1", "attempt 2"]


# --- stopping --------------------------------------------------------------------------------------------------------


@LONG
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_worker(shop: Errands, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end the worker with status 0, and with --json stdout is one document."""
    with working(tmp_path, "--json") as worker:
        worker.send(number)
        assert worker.end() == 0
        assert json.loads(worker.out) == {"stopped_by": number.name}
        assert "Stopped." in worker.err
        assert "Traceback" not in worker.err


@LONG
def test_running_actions_may_end(shop: Errands, tmp_path: Path) -> None:
    """A stopping worker waits for running actions, and starts no new job."""
    with working(tmp_path) as worker:
        job_id = begin(shop, worker, "wait", tmp_path / "wait")
        worker.send(signal.SIGTERM)
        worker.wait_for_output("Stopping")
        new = shop.schedule("note", text="new")
        time.sleep(0.3)
        (tmp_path / "wait" / "go").touch()
        assert worker.end() == 0
        assert worker.out == ""
    assert (shop.row(job_id).state, shop.row(new).state) == ("success", "pending")
    assert shop.notes() == ["attempt 1"]


def assert_stopped(shop: Errands, once: str, again: str) -> None:
    """Assert that the action with retries is pending, that the other one has failed, and that both have the attempt."""
    assert (shop.row(once).state, shop.row(again).state) == ("failed", "pending")
    assert "was stopped" in (shop.row(once).error or "")
    for job_id in (once, again):
        assert [attempt.outcome for attempt in shop.row(job_id).attempts] == ["stopped"]
    assert shop.notes() == []


@LONG
def test_an_action_that_does_not_end_is_stopped(shop: Errands, tmp_path: Path) -> None:
    """After the grace an action is pending again if it has retries, for another worker, and failed otherwise."""
    with working(tmp_path, "--grace", "1") as worker:
        once = begin(shop, worker, "wait", tmp_path / "once")
        again = begin(shop, worker, "wait_again", tmp_path / "again")
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
        assert "Stopped." in worker.err
    assert_stopped(shop, once, again)
    (tmp_path / "again" / "go").touch()
    with working(tmp_path) as worker:
        worker.wait_until(lambda: has_ended(shop, again), "the other worker ran it")
    assert shop.notes() == ["attempt 2"]


def test_a_second_signal_ends_the_wait(shop: Errands, tmp_path: Path) -> None:
    """A second Ctrl-C stops running actions at once, with the same result as the end of the grace."""
    with working(tmp_path, "--grace", "3600") as worker:
        once = begin(shop, worker, "wait", tmp_path / "once")
        again = begin(shop, worker, "wait_again", tmp_path / "again")
        worker.send(signal.SIGINT)
        worker.wait_for_output("Stopping")
        worker.send(signal.SIGINT)
        assert worker.end() == 0
    assert_stopped(shop, once, again)


# --- starting --------------------------------------------------------------------------------------------------------


def test_without_a_migration_the_worker_does_not_start(tmp_path: Path) -> None:
    """Without a migration the command names the one to run, exits with 1 and creates no file."""
    app = make_app(tmp_path)
    refused = app.test_cli_runner().invoke(args=["convex", "worker"])
    app.extensions["convex_http"].close()
    assert refused.exit_code == 1
    assert "flask convex migrate" in refused.stderr
    assert refused.stderr.startswith("Error: ") and refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--grace", "-1"], ["--grace", "nan"], ["--grace", "long"], ["--quickly"], ["x"]])
def test_wrong_options_are_wrong_usage(shop: Errands, options: list[str]) -> None:
    """Unknown options and values are wrong usage."""
    assert shop.convex("worker", *options).status == 2
