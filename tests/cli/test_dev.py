"""`flask convex dev`: it serves the app, follows its code, and loses nothing."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.cli import ScriptInfo

from flask_convex_http import ConvexHTTP, RegistrationError
from flask_convex_http.cli import convex_commands
from flask_convex_http.cli.dev.command import dev as command
from flask_convex_http.cli.dev.migrating import migrate
from flask_convex_http.cli.dev.startup import FIRST_START, load
from flask_convex_http.cli.init.project import SENDERS, make_files, write_files
from tests.child_processes import child_environment
from tests.deployment import Deployment
from tests.lengths import LONG
from tests.versions import create_with, thing

#: The timeout of every wait, in seconds. A busy machine is slow.
TIMEOUT = 60.0
FULL = thing(name=str, note=str)


class Server:
    """A running `flask convex dev`.

    Args:
        folder: The folder of the app.
        log: The file of its output.
        process: The process that listens.
    """

    def __init__(self, folder: Path, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self._log = log
        self._seen = 0
        self.port = int(self.wait_for(r"Running on http://127\.0\.0\.1:(\d+)")[1])

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output since the last wait has a pattern, and return the match."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            text = re.sub(r"\x1b\[[\d;]*m", "", self._log.read_text())
            found = re.compile(pattern).search(text, self._seen)
            if found:
                self._seen = found.end()
                return found
            assert time.monotonic() < deadline and self.process.poll() is None, text[self._seen :]
            time.sleep(0.05)

    def wait_for_start(self) -> None:
        """Wait until the app is started again, and files are watched: the reloader looks at them before it serves."""
        self.wait_for(r"Restarting with stat[\s\S]*?Debugger is active")
        self.status("GET", "/")

    def change(self, name: str, old: str, new: str) -> None:
        """Change a file of the app, which starts the app again."""
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        os.utime(path, (time.time(), path.stat().st_mtime + 1))  # on file systems that store whole seconds, too

    def status(self, method: str, path: str, body: str | None = None) -> int:
        """Send a request, and return the status of the response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            return connection.getresponse().status


@contextmanager
def dev(folder: Path) -> Iterator[Server]:
    """Run `flask convex dev` on a free port."""
    log = folder.parent / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "convex", "dev", "--port", "0"],
            cwd=folder,
            env=child_environment() | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Server(folder, log, process)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself, and its log says why
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(TIMEOUT)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return the folder of a new app."""
    write_files(tmp_path / "shop", make_files(SENDERS["stripe"]))
    return tmp_path / "shop"


@LONG
def test_the_app_follows_its_code(shop: Path) -> None:
    """A new app is migrated and served, and a new field is a column as soon as its class is saved."""
    with dev(shop) as server:
        server.wait_for(
            r"create table tasks[\s\S]*API docs:\s+http://127\.0\.0\.1:\d+/docs\n"
            r"Dashboard: http://127\.0\.0\.1:\d+/_convex/login#\S+\nWebhook:.*/webhooks/stripe"
        )
        assert server.status("POST", "/api/tasks", '{"title": "Buy milk"}') == 201
        server.change("server/schema.py", "done: bool = False", 'done: bool = False\n    note: str = ""')
        server.wait_for(r"add column tasks\.note")
        assert server.status("GET", "/api/tasks") == 200


@LONG
def test_a_removed_field_is_kept_until_somebody_drops_it(shop: Path) -> None:
    """The column of a field that is removed while the app runs is named and kept, and the app goes on."""
    schema, tasks = shop / "server" / "schema.py", shop / "server" / "tasks.py"
    schema.write_text(schema.read_text().replace("done: bool = False", "done: bool = False\n    note: str"))
    tasks.write_text(tasks.read_text().replace("title=title)", 'title=title, note="x")'))
    with dev(shop) as server:
        server.wait_for("Debugger is active")
        assert server.status("POST", "/api/tasks", '{"title": "Buy milk"}') == 201
        server.change("server/tasks.py", ', note="x"', "")
        server.wait_for_start()
        server.change("server/schema.py", "\n    note: str", "")
        server.wait_for(r"keep column tasks\.note[\s\S]*flask convex migrate --allow-destructive")
        assert server.status("POST", "/api/tasks", '{"title": "Buy bread"}') == 201


@LONG
def test_a_broken_file_is_shown_until_it_is_fixed(shop: Path) -> None:
    """A file that does not compile is shown with its line, each request is 500, and the fixed file is served."""
    with dev(shop) as server:
        server.wait_for("Debugger is active")
        assert server.status("GET", "/api/tasks") == 200
        server.change("server/tasks.py", "def get(", "def get(:")
        server.wait_for(r'tasks\.py", line \d+[\s\S]*SyntaxError[\s\S]*did not start')
        assert server.status("GET", "/api/tasks") == 500
        server.change("server/tasks.py", "def get(:", "def get(")
        server.wait_for_start()
        assert server.status("GET", "/api/tasks") == 200


@LONG
def test_a_port_in_use_is_named(shop: Path) -> None:
    """A port that another program uses ends the command with its number."""
    with dev(shop) as server:
        command = [sys.executable, "-m", "flask", "convex", "dev", "--port", str(server.port)]
        done = subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 1
        assert f"Port {server.port} is in use" in done.stderr


def test_a_folder_without_an_app_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without an app the message names what to write and the command that writes an app."""
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(convex_commands, ["dev"])
    assert refused.exit_code == 1
    assert "flask --app shop convex dev" in refused.stderr
    assert "flask convex init" in refused.stderr


def test_the_place_of_flask_run_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command listens where FLASK_RUN_HOST and FLASK_RUN_PORT say, unless an option says otherwise."""
    monkeypatch.setenv("FLASK_RUN_HOST", "::1")
    monkeypatch.setenv("FLASK_RUN_PORT", "5053")
    assert command.make_context("dev", []).params == {"host": "::1", "port": 5053}
    assert command.make_context("dev", ["--port", "0"]).params == {"host": "::1", "port": 0}


def test_an_app_that_cannot_be_loaded_raises_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The error of an app is printed in one line with the app's own line, and raised again by each request."""

    def create_app() -> Flask:
        raise RegistrationError("Thing has no such field")

    app = load(ScriptInfo(create_app=create_app), "127.0.0.1")
    line = create_app.__code__.co_firstlineno + 1
    assert f"test_dev.py:{line}: Thing has no such field\n" in capsys.readouterr().err
    with pytest.raises(RegistrationError):
        app({}, lambda *response: lambda data: None)


def test_a_bug_of_the_app_is_printed_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Any other exception is printed with its traceback, without the frames that load the app."""

    def create_app() -> Flask:
        raise KeyError("lamp")

    load(ScriptInfo(create_app=create_app), "127.0.0.1")
    printed = capsys.readouterr().err
    assert "in create_app" in printed
    assert "KeyError: 'lamp'" in printed
    assert "in load_app" not in printed


def test_an_app_without_the_extension_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """An app without ConvexHTTP gets a sentence, without a traceback."""
    load(ScriptInfo(create_app=lambda: Flask(__name__)), "127.0.0.1")
    printed = capsys.readouterr().err
    assert "Error: This app has no ConvexHTTP" in printed
    assert "Traceback" not in printed


def test_each_start_prints_what_it_did_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Steps are printed, and a column that is kept is named with the command that drops it."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note="red"))
    with closing(Deployment(thing({"by_name": ["name"]}, name=str), folder=tmp_path).backend) as backend:
        migrate(backend, "flask --app shop")
    printed = capsys.readouterr().err
    assert "create index by_name on things" in printed
    assert "keep column things.note" in printed
    assert "flask --app shop convex migrate --allow-destructive" in printed


def test_a_database_that_does_not_fit_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A class that existing rows do not fit is named, and the start goes on."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note="red"))
    with closing(Deployment(thing(name=str, note=int), folder=tmp_path).backend) as backend:
        migrate(backend, "flask")
    assert "The database was not migrated: things.note cannot become integer" in capsys.readouterr().err


def test_a_start_without_changes_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database that matches its classes prints nothing."""
    create_with(tmp_path, FULL, FULL(name="Lamp", note="red"))
    with closing(Deployment(FULL, folder=tmp_path).backend) as backend:
        migrate(backend, "flask")
    assert capsys.readouterr().err == ""


def test_the_debugger_is_for_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an address that other machines reach, the debugger and debug mode are off, whatever the environment says."""
    calls = []
    monkeypatch.setenv("FLASK_DEBUG", "1")
    monkeypatch.setenv(FIRST_START, "")
    monkeypatch.setattr(
        sys.modules[load.__module__.replace("startup", "command")],
        "run_simple",
        lambda host, port, app, **options: calls.append((host, options["use_debugger"], os.environ["FLASK_DEBUG"])),
    )
    for host in ("127.0.0.1", "0.0.0.0", "::1", "localhost"):
        app = Flask(__name__)
        ConvexHTTP(app)
        app.test_cli_runner().invoke(args=["convex", "dev", "--host", host])
    assert calls == [
        ("127.0.0.1", True, "1"),
        ("0.0.0.0", False, "0"),
        ("::1", True, "1"),
        ("localhost", True, "1"),
    ]
