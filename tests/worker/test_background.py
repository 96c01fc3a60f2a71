"""Servers that run what is scheduled by themselves, on a thread of theirs: when it starts, and how it ends."""

import os
import threading
import time
from pathlib import Path

import pytest
from flask import Flask

from flask_convex_http import ConvexHTTP
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, SQLITE_ONLY
from tests.processes.servers import Server
from tests.sqlite.crews import wait_until
from tests.sqlite.limits import no_more_threads
from tests.web.apps import backend_of, deployed
from tests.worker import app as served
from tests.worker.app import functions, http
from tests.worker.runs import SCHEMA, written
from tests.worker.servers import KINDS, Deployment, served_by, serving

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

SERVERS = served_by(*KINDS)
GUNICORNS = served_by("gunicorn", "gunicorn, our settings")


def order(server: Server, text: str, **more: float) -> None:
    """Have something scheduled by a request."""
    assert server.request("POST", "/orders", {"text": text, **more}).status == 201


def worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "convex-worker"]


# --- processes -------------------------------------------------------------------------------------------------------


@SERVERS
def test_a_server_alone_runs_what_is_scheduled(kind: str, tmp_path: Path) -> None:
    """What a request schedules, for now or for later, is run by the processes that serve, without any other."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        order(server, "now")
        order(server, "later", delay=0.5)
        order(server, "action", takes=0.1)
        server.wait(lambda: len(deployment.notes) == 4, "run what was scheduled")
        ran = {note.rpartition(" ")[0] for note in deployment.notes}
        processes = {int(note.rpartition(" ")[2]) for note in deployment.notes}
        assert ran == {"now", "later", "action begun", "action ended"}
        if server.workers:  # not the process above them, which has loaded the app if that was asked for
            assert processes <= set(server.workers)


@SQLITE_ONLY
@pytest.mark.parametrize("kind", ["flask", "gunicorn, our settings"])
def test_a_server_that_is_to_run_nothing(kind: str, tmp_path: Path) -> None:
    """With CONVEX_WORKER=off the serving processes leave what is scheduled to others."""
    deployment = Deployment(tmp_path, worker="off")
    deployment.migrate()
    with serving(kind, deployment) as server:
        order(server, "never")
        time.sleep(1)
        assert [job.state for job in deployment.jobs] == ["pending"]


def test_with_our_settings_nobody_has_to_ask(tmp_path: Path) -> None:
    """What was due before the server was started is run though no request comes."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with deployment.backend() as backend:
        backend.ctx().scheduler.run_after(0, served.write, text="due")
    with serving("gunicorn, our settings", deployment, is_asked=False) as server:
        server.wait(lambda: len(deployment.notes) == 1, "run what was due")


@GUNICORNS
def test_two_workers_run_nothing_twice(kind: str, tmp_path: Path) -> None:
    """Of many things that both workers of a server see each is run once."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        for number in range(40):
            order(server, f"m{number}")
            order(server, f"a{number}", takes=0)
        server.wait(lambda: all(job.completed_time is not None for job in deployment.jobs), "run everything")
        texts = sorted(note.rpartition(" ")[0] for note in deployment.notes)
    expected = [f"m{number}" for number in range(40)]
    expected += [f"a{number} {event}" for number in range(40) for event in ("begun", "ended")]
    assert texts == sorted(expected)
    assert {job.state for job in deployment.jobs} == {"success"}


@GUNICORNS
def test_a_server_that_is_stopped_lets_actions_end(kind: str, tmp_path: Path) -> None:
    """A server that is told to end waits a while for the actions that run."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    with serving(kind, deployment) as server:
        order(server, "long", takes=1.5)
        server.wait(lambda: len(deployment.notes) == 1, "begin the action")
    assert [note.rpartition(" ")[0] for note in deployment.notes] == ["long begun", "long ended"]
    assert [job.state for job in deployment.jobs] == ["success"]


# --- this process ----------------------------------------------------------------------------------------------------


def test_it_starts_with_the_first_request_and_ends_with_the_backend(tmp_path: Path) -> None:
    """Setting up an app starts nothing; its first request starts one thread, the next none; closing ends it."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=False, CONVEX_WORKER="on") as app:
        assert worker_threads() == []
        for text in ("a", "b"):
            assert app.test_client().post("/orders", json={"text": text}).status_code == 201
        [thread] = worker_threads()
        wait_until(lambda: written(backend_of(app)) == [f"a {os.getpid()}", f"b {os.getpid()}"])
    assert not thread.is_alive()
    assert worker_threads() == []


def test_tests_start_none(tmp_path: Path) -> None:
    """An app with TESTING set runs what is scheduled only when its test says so."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=True, CONVEX_WORKER="on") as app:
        assert app.test_client().post("/orders", json={"text": "a"}).status_code == 201
        assert worker_threads() == []


def test_an_app_with_nothing_to_run_starts_none(tmp_path: Path) -> None:
    """An app that has no functions that could be scheduled has no thread either."""
    with deployed(tmp_path, TESTING=False, CONVEX_WORKER="on") as app:
        app.test_client().get("/")
        assert worker_threads() == []


def test_a_system_without_threads(tmp_path: Path) -> None:
    """A request is answered though the thread cannot be started; a later one starts it."""
    with deployed(tmp_path, http, schema=SCHEMA, functions=functions, TESTING=False, CONVEX_WORKER="on") as app:
        client = app.test_client()
        with no_more_threads():
            assert client.post("/orders", json={"text": "a"}).status_code == 201
        assert worker_threads() == []
        assert client.get("/health").status_code == 200
        wait_until(lambda: len(written(backend_of(app))) == 1)


def test_before_the_first_migration(tmp_path: Path) -> None:
    """Requests are answered while there is no database, no files are made, and the thread goes on when there is one."""
    app = Flask("test_app", instance_path=str(tmp_path / "instance"))
    convex = ConvexHTTP(app, schema=SCHEMA, functions=functions)
    app.register_blueprint(http)
    try:
        client = app.test_client()
        assert client.get("/health").status_code == 200
        assert client.post("/orders", json={"text": "a"}).status_code == 503
        assert not (tmp_path / "instance").exists()
        with app.app_context():
            convex.migrate()
        assert client.post("/orders", json={"text": "a"}).status_code == 201
        wait_until(lambda: len(written(backend_of(app))) == 1)
    finally:
        backend_of(app).close()


def test_in_a_child_of_a_process_that_works(tmp_path: Path) -> None:
    """A process that is forked from one that runs a worker starts its own with its first request, and ends it alone."""
    deployment = Deployment(tmp_path)
    deployment.migrate()
    program = (
        "import os, sys, time\n"
        "from tests.worker.app import create_app\n"
        "app = create_app()\n"
        "backend = app.extensions['convex_http']\n"
        "def post(text):\n"
        "    assert app.test_client().post('/orders', json={'text': text}).status_code == 201\n"
        "    time.sleep(1)\n"
        "post('parent')\n"
        "read_end, write_end = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.read(read_end, 1)\n"  # when the parent's worker has ended
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
