"""Jobs and deliveries that kill or block each process that runs them, under real servers and workers."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from flask_convex_http.backend import Backend
from flask_convex_http.config import Settings
from flask_convex_http.functions.function import MutationFunction
from flask_convex_http.schema.system_tables import ScheduledFunction, WebhookDelivery
from flask_convex_http.sqlite.connections import sqlite3
from flask_convex_http.worker.lost_mutations import LOST_RETRY
from tests.databases import EACH_ENGINE, SQLITE_ONLY
from tests.inbox.receiving import payload
from tests.lengths import LONG
from tests.processes.servers import KEEP_ALIVE, TIMEOUT, Kind, Response, Server
from tests.webhooks.senders import SECRET, sign_stripe
from tests.worker import poison_app
from tests.worker.poison_app import MAX_ATTEMPTS
from tests.worker.servers import Deployment
from tests.worker.workers import SCHEMA, write_note

pytestmark = [EACH_ENGINE, LONG]

_APP = "tests.worker.poison_app:create_app()"
_GUNICORN = f"gunicorn -c python:flask_convex_http.gunicorn {_APP} --bind 127.0.0.1:0 --threads 8 {KEEP_ALIVE}"
GUNICORN = Kind(tuple(_GUNICORN.split()), (0,))
GRANIAN = Kind(("flask_convex_http.granian", _APP, "--port", "{port}", "--blocking-threads", "8"), (0,))
FLASK = Kind(("flask", "--app", _APP, "run", "--port", "0"), (-15,))


class Poisoned(Deployment):
    """A deployment of the app."""

    @contextmanager
    def backend(self) -> Iterator[Backend]:
        """Open the same database in this process, without a worker."""
        urls = {name: url for name, url in self.settings.items() if name.endswith("_URL")}
        settings = Settings.from_mapping(urls)
        with closing(Backend(settings, SCHEMA, poison_app.functions, folder=self.folder)) as backend:
            yield backend

    def schedule(self, function: MutationFunction[..., None], **arguments: str) -> str:
        """Schedule a job, and return its id. No request does it: its process could die before the response."""
        with self.backend() as backend:
            return backend.ctx().scheduler.run_after(0, function, **arguments)

    def job(self, job_id: str) -> ScheduledFunction:
        """Return a job."""
        [found] = [job for job in self.jobs if job.id == job_id]
        return found


@contextmanager
def serving(deployment: Poisoned, kind: Kind = GUNICORN) -> Iterator[Server]:
    """Run a server until the block ends, and kill it."""
    deployment.migrate()
    server = Server(deployment, kind)
    try:
        server.start()
        yield server
    except BaseException:
        print(server.output[-20_000:])
        raise
    finally:
        server.kill()


def post(server: Server, path: str) -> Response:
    """Send a request, again while the process that got it dies."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return server.request("POST", path)
        except (OSError, HTTPException):
            assert time.monotonic() < end
            time.sleep(0.1)


def deliver(server: Server, event_id: str, kind: str) -> None:
    """Deliver an event, as a sender that repeats it until it is acknowledged."""
    body = payload(event_id, kind)
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(OSError, HTTPException):
            headers = {"Content-Type": "application/json", **sign_stripe(SECRET, body, int(time.time()))}
            if server.request("POST", "/hook", body, headers).status == 202:
                return
        time.sleep(0.1)
    raise AssertionError(f"{event_id} is not acknowledged")


def states(deployment: Poisoned) -> dict[str, str]:
    """Return the state of each delivery by the id of its event."""
    return {row.event_id: row.state for row in deployment.rows(WebhookDelivery)}


def is_locked(deployment: Poisoned) -> bool:
    """Return whether a transaction holds the write lock of SQLite."""
    with closing(sqlite3.connect(deployment.folder / "convex.db", isolation_level=None, timeout=0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def wait_until(condition: Callable[[], Any], seconds: float = TIMEOUT) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"It took more than {seconds} s"
        time.sleep(0.2)


def scheduled(deployment: Poisoned, *arguments: str) -> str:
    """Run `flask convex scheduled` to its end, and return its output."""
    command = [sys.executable, "-m", "flask", "--app", _APP, "convex", "scheduled", *arguments]
    done = subprocess.run(
        command, cwd=deployment.folder, env=deployment.environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_poison_does_not_restart_workers_in_a_loop(tmp_path: Path) -> None:
    """A job and a delivery that kill their process are dead-lettered, and those behind them run within seconds."""
    deployment = Poisoned(tmp_path, worker_lease=1)
    with serving(deployment) as server:
        poison = deployment.schedule(poison_app.die)
        deliver(server, "evt_die", "die")
        for number in range(5):
            deployment.schedule(write_note, text=f"job-{number}")
            deliver(server, f"evt_{number}", "good")
        expected = {f"{kind}{number}" for kind in ("job-", "evt_") for number in range(5)}
        wait_until(lambda: expected <= set(deployment.notes))
        wait_until(lambda: deployment.job(poison).state == "failed")
        wait_until(lambda: states(deployment)["evt_die"] == "dead")
        is_sqlite = deployment.settings["CONVEX_DATABASE_URL"].startswith("sqlite")
        deaths = LOST_RETRY.max_attempts + MAX_ATTEMPTS
        # Two workers at the start, and on PostgreSQL each may die once before a job is known
        assert len(server.workers) <= 2 + deaths + (0 if is_sqlite else 4), server.output
        assert sorted(deployment.notes) == sorted(expected)  # each once, and nothing of the poison
        assert post(server, "/notes/last").status == 201


@SQLITE_ONLY
def test_the_next_process_finds_the_job_that_killed_the_last(tmp_path: Path) -> None:
    """A death is recorded by the process that replaces the dead one, and not at the end of a long lease."""
    deployment = Poisoned(tmp_path, worker_lease=3600)
    with serving(deployment):
        poison = deployment.schedule(poison_app.die)
        wait_until(lambda: [each.outcome for each in deployment.job(poison).attempts][:3] == ["lost"] * 3)


@SQLITE_ONLY
def test_an_endless_job_blocks_others_for_its_time_limit_only(tmp_path: Path) -> None:
    """A job that never ends fails after CONVEX_MUTATION_TIMEOUT, and no process ends."""
    deployment = Poisoned(tmp_path, mutation_timeout=2)
    with serving(deployment) as server:
        endless = deployment.schedule(poison_app.loop)
        wait_until(lambda: post(server, "/notes/after").status == 201)
        wait_until(lambda: deployment.job(endless).state == "failed")
        assert "poison_app:loop" in server.output and "in loop" in server.output
        assert len(server.workers) == 2
        assert deployment.notes == ["after"]


@SQLITE_ONLY
def test_an_endless_delivery_is_canceled_while_it_runs(tmp_path: Path) -> None:
    """An endless delivery that holds the write lock can be canceled, and is not attempted again."""
    deployment = Poisoned(tmp_path, mutation_timeout=20)  # time for the start of a command on a busy machine
    with serving(deployment) as server:
        deliver(server, "evt_loop", "loop")
        wait_until(lambda: [job.id for job in deployment.jobs])
        [job] = deployment.jobs
        wait_until(lambda: is_locked(deployment))
        assert "will be canceled before it starts again" in scheduled(deployment, "cancel", job.id)
        wait_until(lambda: states(deployment) == {"evt_loop": "canceled"})
        assert post(server, "/notes/after").status == 201
        assert [each.state for each in deployment.jobs if each.state == "pending"] == []
        assert "No job starts" in scheduled(deployment, "pause")
        held = deployment.schedule(write_note, text="held")
        time.sleep(1)
        assert deployment.job(held).state == "pending"
        scheduled(deployment, "resume")
        wait_until(lambda: deployment.job(held).state == "success")


@SQLITE_ONLY
@pytest.mark.parametrize("kind", [GUNICORN, GRANIAN], ids=["gunicorn", "granian"])
def test_a_job_that_blocks_in_c_ends_its_process(kind: Kind, tmp_path: Path) -> None:
    """A server's worker that cannot interrupt a mutation ends, and the mutation counts as lost."""
    deployment = Poisoned(tmp_path, mutation_timeout=1)
    with serving(deployment, kind) as server:
        blocked = deployment.schedule(poison_app.block)
        wait_until(lambda: "so this process ends" in server.output)
        wait_until(lambda: post(server, "/notes/after").status == 201)
        wait_until(lambda: len(server.workers) >= 3)
        wait_until(lambda: deployment.job(blocked).attempts)
        assert deployment.job(blocked).attempts[0].outcome == "lost"


@SQLITE_ONLY
def test_flask_run_never_ends_by_itself(tmp_path: Path) -> None:
    """`flask run` logs a mutation that it cannot interrupt, and still responds to reads."""
    deployment = Poisoned(tmp_path, mutation_timeout=1)
    with serving(deployment, FLASK) as server:
        deployment.schedule(poison_app.block)
        wait_until(lambda: "cannot be interrupted, and other writes wait for it" in server.output)
        assert server.request("GET", "/health").status == 200


@SQLITE_ONLY
def test_a_worker_whose_threads_cannot_run_ends(tmp_path: Path) -> None:
    """`flask convex worker` ends when a mutation keeps all threads of Python from running, and logs its stack."""
    deployment = Poisoned(tmp_path, mutation_timeout=1)
    deployment.migrate()
    deployment.schedule(poison_app.backtrack)
    command = [sys.executable, "-m", "flask", "--app", _APP, "convex", "worker"]
    done = subprocess.run(
        command, cwd=tmp_path, env=deployment.environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 1
    assert "in backtrack" in done.stderr, done.stderr
