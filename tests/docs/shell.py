"""A shell that runs a page: commands with their output, requests with their status, servers in the background."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.child_processes import ROOT
from tests.docs.services import Services
from tests.ports import free_port

#: Commands that change this machine or need another one. `bash -n` checks them, and nothing runs them.
ELSEWHERE = frozenset(
    {
        *(".venv/bin/python", "apt-get", "brew", "git", "pipx", "python3", "source", "sudo", "uv"),
        *("caddy", "docker", "journalctl", "nginx", "psql", "createdb", "ngrok", "ssh", "stripe", "systemctl"),
    }
)
_SERVER = re.compile(
    r"(python3? -m )?(flask( --app \S+)?( --debug)? (run|convex (worker|dev))|gunicorn|flask_convex_http\.granian)\b"
)
_ADDRESS = re.compile(r"\b(localhost|127\.0\.0\.1|0\.0\.0\.0):(5000|8000)\b")
#: A command that sends to port 5000 by default.
_SEND = re.compile(r"(\bconvex webhooks send)(?!.* --(?:url|list))")
#: A command that serves on port 5000 by default.
_DEV = re.compile(r"(\bconvex dev)\b(?!.* --(?:port|help))")
#: A message of msgspec, whose wording differs between versions.
_MSGSPEC = re.compile(r"Expected `[^`]*`, got `[^`]*`")
#: Variables of S3 in a page, which the test's own server replaces.
_CREDENTIALS = re.compile(r"\bAWS_\w+=\S+")
_EXPECTED = re.compile(r"\s+# (?:exits with (?P<code>\d+)|(?P<status>[1-5]\d\d)(?: (?P<body>.+))?|[A-Za-z(].*)$")


@dataclass(frozen=True)
class Command:
    """A command of a page with its documented result.

    Attributes:
        text: The command, without the comment at its end.
        output: The output, or None if the page does not show it.
        code: The exit status.
        status: The HTTP status of a `curl`, or None for any below 400.
        body: A part of the response body of a `curl`.
    """

    text: str
    output: str | None = None
    code: int = 0
    status: int | None = None
    body: str = ""

    @property
    def word(self) -> str:
        """The first word after any variable assignments."""
        words = (word for word in self.text.split() if not re.match(r"\w+=", word))
        return next(words, "")


def commands(language: str, code: str) -> list[Command]:
    """Return the commands of a `sh` or `console` block."""
    found: list[Command] = []
    lines = code.splitlines()
    while lines:
        line = lines.pop(0)
        if not line.strip() or line.startswith("#"):
            continue
        if language == "console":
            assert line.startswith("$ "), f"A console block starts with `$ `, and so does each command: {line!r}"
            line = line[2:]
        while not _is_complete(line):
            assert lines, f"The command does not end: {line!r}"
            line = f"{line}\n{lines.pop(0)}"
        output = []
        while language == "console" and lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        found.append(_command(line, "\n".join(output) if language == "console" and output else None))
    return found


def _is_complete(text: str) -> bool:
    """Return whether bash sees a complete command, without an open quote, bracket, pipe or here-document."""
    if text.endswith("\\"):
        return False
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True)
    return not re.search(r"EOF|end of file|here-document", done.stderr)


def _command(line: str, output: str | None) -> Command:
    """Split the comment from the end of a command."""
    found = _EXPECTED.search(line)
    if not found:
        return Command(line, output)
    status = int(found["status"]) if found["status"] else None
    return Command(line[: found.start()], output, int(found["code"] or 0), status, found["body"] or "")


def matches(expected: str, real: str) -> bool:
    """Return whether an output is as expected: `...` is any text, whitespace is any whitespace."""
    pattern = _pattern(expected)
    return re.fullmatch(pattern, " ".join(real.split())) is not None


def occurs(expected: str, real: str) -> bool:
    """Return whether an expected text is somewhere in an output."""
    return re.search(_pattern(expected), " ".join(real.split())) is not None


def _pattern(expected: str) -> str:
    """Return the regular expression of an expected output."""
    text = _MSGSPEC.sub("...", " ".join(expected.split()))
    return r"\s?.*?\s?".join(re.escape(part) for part in re.split(r"\s?\.\.\.\s?", text))


class Shell:
    """A shell in a folder, with the checkout's package, a free port, and no settings from outside."""

    def __init__(self, folder: Path, services: Services) -> None:
        """Start in an empty folder."""
        self.folder = folder
        self._services = services
        self.printed = ""
        self._port = free_port()
        self._servers: list[subprocess.Popen[bytes]] = []
        self._state = folder.parent / f"{folder.name}.env"
        self._log = folder.parent / f"{folder.name}.log"
        self._log.touch()
        (folder.parent / ".curlrc").write_text("silent\nshow-error\n", encoding="utf-8")

    def run(self, command: Command) -> None:
        """Run a command and compare it with the page.

        Raises:
            AssertionError: The output, the exit status or the HTTP status differs.
        """
        if command.word in ELSEWHERE or command.text.startswith((". ", "pip ", "make ", "python3 -m pip ")):
            self._read_only(command)
        elif _SERVER.match(command.text):
            self._serve(command)
        else:
            self._run(command)

    def python(self, *words: str) -> None:
        """Run Python with the variables that the page has set.

        Raises:
            AssertionError: The exit status is not 0.
        """
        self._run(Command(shlex.join(words)))

    def log(self) -> str:
        """Return the output of the last command and of the servers."""
        return self._as_shown(self.printed + self._log.read_text(encoding="utf-8", errors="replace"))

    def wait_for(self, text: str) -> None:
        """Wait until a text is in the output. A server writes its access log after the client has the response.

        Raises:
            AssertionError: The text is not there after thirty seconds.
        """
        deadline = time.monotonic() + (30 if self._servers else 0)
        while not occurs(text, self.log()):
            assert time.monotonic() < deadline, f"{text}\nis not in the output:\n{self.log()}"
            time.sleep(0.05)

    def close(self) -> None:
        """Stop the servers."""
        for server in self._servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
        for server in self._servers:
            # gunicorn misses the signal for a worker that it has just forked, and kills it after 30 seconds.
            server.wait(60)
        self._servers.clear()

    def _read_only(self, command: Command) -> None:
        """Check a command that is not run: its syntax, the extras it installs, the targets it makes."""
        done = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True)
        assert done.returncode == 0, f"{command.text}: {done.stderr}"
        setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
        if command.word == "pip" or " pip install" in command.text:
            for extra in re.findall(r"[\w.]\[([\w,]+)\]", command.text):
                for name in extra.split(","):
                    assert f"\n{name} =\n" in setup, f"{command.text}: there is no extra {name}"
        if command.word == "make":
            target = command.text.split()[1]
            assert f"\n{target}: " in (ROOT / "Makefile").read_text(encoding="utf-8"), f"There is no {command.text}"

    def _run(self, command: Command) -> None:
        """Run a command to its end."""
        text = command.text
        if command.word == "curl":
            text = text.replace("curl", "curl -w '%{stderr}STATUS:%{http_code}'", 1)
        done = subprocess.run(
            ["bash", "-c", self._script(text)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        errors, _, status = done.stderr.partition("STATUS:")
        self.printed = self._as_shown(done.stdout + errors)
        context = f"$ {command.text}\n{self.printed}\n--- servers\n{self._log.read_text(encoding='utf-8')[-2000:]}"
        assert done.returncode == command.code, f"exits with {done.returncode}: {context}"
        if status:
            wanted = command.status
            assert int(status) == wanted if wanted else int(status) < 400, f"status {status}: {context}"
        assert occurs(command.body, self.printed), f"not {command.body!r}: {context}"
        assert command.output is None or matches(command.output, self.printed), f"not {command.output!r}: {context}"

    def _serve(self, command: Command) -> None:
        """Start a server or worker in the background, and wait until a server accepts connections."""
        if "convex worker" not in command.text:
            self.close()
        with self._log.open("ab") as log:
            server = subprocess.Popen(
                ["bash", "-c", self._script(f"exec {command.text}")],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._servers.append(server)
        deadline = time.monotonic() + 60
        while "convex worker" not in command.text and not _accepts(self._port):
            assert server.poll() is None and time.monotonic() < deadline, f"$ {command.text}\n{self.log()}"
            time.sleep(0.05)

    def _script(self, text: str) -> str:
        """Return the script for bash: the command, with the variables and the working directory of the earlier ones."""
        state = shlex.quote(str(self._state))
        text = _SEND.sub(r"\1 --url http://127.0.0.1:5000", text)
        text = _DEV.sub(rf"\1 --port {self._port}", text)
        text = _ADDRESS.sub(rf"\1:{self._port}", text)
        if self._services.environment:
            text = _CREDENTIALS.sub("", text)
        for place, real in self._services.places.items():
            text = text.replace(place, real)
        return (
            f'set -a; if [ -e {state} ]; then . {state}; cd "$PWD"; fi\n'
            f"trap 'code=$?; export -p > {state}; exit $code' EXIT\n{text}\n"
        )

    def _as_shown(self, text: str) -> str:
        """Return an output in the reader's form, with the page's port and without colours."""
        plain = re.sub(r"\x1b\[[\d;]*m", "", text)
        return plain.replace(f":{self._port}", ":5000")

    def _environment(self) -> dict[str, str]:
        """Return the environment of every command."""
        # Without bytecode each command would compile the package again.
        foreign = ("FLASK_", "PYTEST_", "AWS_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return (
            kept
            | self._services.environment
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "CURL_HOME": str(self.folder.parent),
                "FLASK_RUN_PORT": str(self._port),
                "GRANIAN_PORT": str(self._port),
                "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self._port}",
            }
        )


def _accepts(port: int) -> bool:
    """Return whether a server listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
