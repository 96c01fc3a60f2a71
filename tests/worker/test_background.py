"""The worker on a thread of a serving process: when it starts and how it ends."""

import os
import threading
import time
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.lengths import LONG
from tests.processes.servers import Server
from tests.sqlite.crews import wait_until
from tests.sqlite.limits import no_more_threads
from tests.web.apps import backend_of, deployed
from tests.worker import app as served
from tests.worker.app import functions, http
from tests.worker.servers import KINDS, Deployment, served_by, serving
from tests.worker.workers import SCHEMA, written_notes

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

SERVERS = served_by(*KINDS, long=("flask",))
PRODUCTION = served_by("gunicorn", "gunicorn, our settings", "granian")


def schedule(server: Server, text: str, **more: float) -> None:
    """Let a request schedule a job."""
    assert server.request("POST", "/jobs", {"text": text, **more}).status == 201


def worker_threads() -> list[threading.Thread]:
    """Return the worker threads of this process."""
    return [thread for thread in threading.enumerate() if thread.name == "convex-worker"]


# --- processes -------------------------------------------------------------------------------------------------------


@SERVERS
def test_a_server_runs_jobs(kind: str, tmp_path: Path) -> None:
    """The serving processes run the jobs that requests schedule, for now or for later."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        schedule(server, "now")
        schedule(server, "later", delay=0.5)
        schedule(server, "action", takes=0.1)
        server.wait(lambda: len(deployment.notes) == 4, "run what was scheduled")
        ran = {note.rpartition(" ")[0] for note in deployment.notes}
        processes = {int(note.rpartition(" ")[2]) for note in deployment.notes}
        assert ran == {"now", "later", "action begun", "action ended"}
        if server.workers:  # not the parent, which has loaded the app too if it is preloaded
            assert processes <= set(server.workers)


@LONG
@SQLITE_ONLY
@pytest.mark.parametrize(
    "kind", ["flask", *(pytest.param(kind, marks=LONG) for kind in ("gunicorn, our settings", "granian"))]
)
def test_worker_off(kind: str, tmp_path: Path) -> None:
    """With CONVEX_WORKER=off the serving processes run no jobs."""
    deployment = Deployment(tmp_path, worker="off")
    deployment.migrate()
    with serving(kind, deployment) as server:
        schedule(server, "never")
        time.sleep(1)
        assert [job.state for job in deployment.jobs] == ["pending"]


@LONG
@pytest.mark.parametrize("kind", ["gunicorn, our settings", pytest.param("granian", marks=LONG)])
def test_the_settings_need_no_request(kind: str, tmp_path: Path) -> None:
    """With the package's settings a job that was due before the start runs without a request."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with deployment.backend() as backend:
        backend.ctx().scheduler.run_after(0, served.write, text="due")
    with serving(kind, deployment, sends_requests=False) as server:
        server.wait(lambda: len(deployment.notes) == 1, "run what was due")


@LONG
@PRODUCTION
def test_two_workers_run_nothing_twice(kind: str, tmp_path: Path) -> None:
    """Two processes of one server run each job once."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        for number in range(40):
            schedule(server, f"m{number}")
            schedule(server, f"a{number}", takes=0)
        server.wait(lambda: all(job.completed_time is not None for job in deployment.jobs), "run database_digest")
        texts = sorted(note.rpartition(" ")[0] for note in deployment.notes)
    expected = [f"m{number}" for number in range(40)]
    expected += [f"a{number} {event}" for number in range(40) for event in ("begun", "ended")]
    assert texts == sorted(expected)
    assert {job.state for job in deployment.jobs} == {"success"}


@PRODUCTION
def test_a_server_that_is_stopped_lets_actions_end(kind: str, tmp_path: Path) -> None:
    """A server that is stopped waits for running actions."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        schedule(server, "long", takes=1.5)
        server.wait(lambda: deployment.notes, "begin the action")
    assert [note.rpartition(" ")[0] for note in deployment.notes] == ["long begun", "long ended"]
    assert [job.state for job in deployment.jobs] == ["success"]


# --- this process ----------------------------------------------------------------------------------------------------


def test_it_starts_with_the_first_request_and_ends_with_the_backend(tmp_path: Path) -> None:
    """The first request starts one thread, the second none, and closing the backend ends it."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=False, CONVEX_WORKER="on") as app:
        assert worker_threads() == []
        for text in ("a", "b"):
            assert app.test_client().post("/jobs", json={"text": text}).status_code == 201
        [thread] = worker_threads()
        wait_until(lambda: written_notes(backend_of(app)) == [f"a {os.getpid()}", f"b {os.getpid()}"])
    assert not thread.is_alive()
    assert worker_threads() == []


def test_testing_starts_no_worker(tmp_path: Path) -> None:
    """An app with TESTING starts no worker."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=True, CONVEX_WORKER="on") as app:
        assert app.test_client().post("/jobs", json={"text": "a"}).status_code == 201
        assert worker_threads() == []


def test_an_app_without_jobs_starts_no_worker(tmp_path: Path) -> None:
    """An app without functions that can be scheduled starts no worker."""
    with deployed(tmp_path, TESTING=False, CONVEX_WORKER="on") as app:
        app.test_client().get("/")
        assert worker_threads() == []


def test_a_system_without_threads(tmp_path: Path) -> None:
    """A request succeeds though the thread cannot start, and a later request starts it."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=False, CONVEX_WORKER="on") as app:
        client = app.test_client()
        with no_more_threads():
            assert client.post("/jobs", json={"text": "a"}).status_code == 201
        assert worker_threads() == []
        assert client.get("/health").status_code == 200
        wait_until(lambda: len(written_notes(backend_of(app))) == 1)


def test_before_the_first_migration(tmp_path: Path) -> None:
    """Without a database requests get responses, no file appears, and the worker runs after the migration."""
    app = Flask("test_app", instance_path=str(tmp_path / "instance"))
    convex = ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    try:
        client = app.test_client()
        assert client.get("/health").status_code == 200
        assert client.post("/jobs", json={"text": "a"}).status_code == 503
        assert not (tmp_path / "instance").exists()
        with app.app_context():
            convex.migrate()
        assert client.post("/jobs", json={"text": "a"}).status_code == 201
        wait_until(lambda: len(written_notes(backend_of(app))) == 1)
    finally:
        backend_of(app).close()


@LONG
def test_a_forked_process_has_its_own_worker(tmp_path: Path) -> None:
    """A forked process starts its own worker with its first request, and stops only that."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    program = (
        "import os, sys, time\n"
        "from tests.worker.app import create_app, notes\n"
        "app = create_app()\n"
        "backend = app.extensions['convex_http']\n"
        "def post(text):\n"
        "    assert app.test_client().post('/jobs', json={'text': text}).status_code == 201\n"
        "    end = time.monotonic() + 30\n"
        "    while f'{text} {os.getpid()}' not in backend.ctx().run_query(notes):\n"
        "        assert time.monotonic() < end\n"
        "        time.sleep(0.01)\n"
        "post('parent')\n"
        "read_end, write_end = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.read(read_end, 1)\n"  # after the parent's worker has ended
        "    post('child')\n"
        "else:\n"
        "    post('again')\n"
        "backend.close()\n"
        "os.write(write_end, b'!')\n"
        "print('closed', flush=True)\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = deployment.program(program)
    assert (done.returncode, done.stdout) == (0, "closed\nclosed\n"), done.stderr
    assert sorted(note.rpartition(" ")[0] for note in deployment.notes) == ["again", "child", "parent"]
