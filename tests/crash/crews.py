"""Crews that work on a ledger until they are killed: bare worker processes, or gunicorn with clients."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Protocol

from flask_convex_http.sqlite.checkpoints import CHECKPOINT_BYTES
from tests.child_processes import ROOT, child_environment
from tests.crash.clients import PATIENCE, Clients, Connection, ask
from tests.crash.nursery import Nursery, Worker

#: Bytes between two checkpoints: the package's own number, or so few that many checkpoints are interrupted.
_CHECKPOINT_BYTES = (CHECKPOINT_BYTES, 2**16)
#: Seconds between opening and closing. SQLite checkpoints and deletes the log at closing, unless others use it.
_SESSIONS = (60.0, 0.05)
_WORKER = re.compile(r"Booting worker with pid: (\d+)")


class Crew(Protocol):
    """Working processes."""

    def kill_one(self) -> None:
        """Kill one process; another takes its place."""

    def kill(self) -> None:
        """Kill all processes, and wait until they have ended."""

    @property
    def acknowledged(self) -> list[str]:
        """Return the keys of the entries acknowledged so far."""

    @property
    def errors(self) -> str:
        """Return the errors so far, or an empty text."""


class Processes:
    """Two processes of four threads each that run the backend without a server.

    Args:
        nursery: Starts them.
        folder: The folder of the ledger. The first process creates its tables if needed.
        notes: An empty folder for their logs.
        name: The start of their keys.
        random: Chooses the victims, the checkpoints and the length of a session.
        environment: Further variables.
        is_ready: Whether the tables of the ledger exist.
        settings: Further settings of the app.
    """

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        notes: Path,
        name: str,
        random: Random,
        *,
        environment: dict[str, str],
        is_ready: bool,
        settings: dict[str, str],
    ) -> None:
        self._nursery, self._folder, self._notes, self._name, self._random = nursery, folder, notes, name, random
        self._environment, self._is_ready, self._settings = environment, is_ready, settings
        self._session = random.choice(_SESSIONS)
        self._checkpoint_bytes = random.choice(_CHECKPOINT_BYTES)
        self._started = 0
        self._workers = [self._start() for _ in range(2 if is_ready else 1)]

    def kill_one(self) -> None:
        victim = self._random.randrange(len(self._workers))
        self._workers[victim].kill()
        self._workers[victim].wait()
        self._workers[victim] = self._start()

    def kill(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()

    @property
    def acknowledged(self) -> list[str]:
        return self._said("acknowledged").split()

    @property
    def errors(self) -> str:
        return self._said("errors")

    def _said(self, name: str) -> str:
        path = self._notes / name
        return path.read_text() if path.exists() else ""  # killed before its first output

    def _start(self) -> Worker:
        self._started += 1
        return self._nursery.start(
            "post_entries",
            self._environment,
            folder=str(self._folder),
            log=str(self._notes),
            worker=f"{self._name}-{self._started}",
            threads=4,
            migrate=not self._is_ready,
            session=self._session,
            checkpoint_bytes=self._checkpoint_bytes,
            settings=self._settings,
        )


class Gunicorn:
    """gunicorn with two workers of four threads each, serving the ledger on a Unix socket.

    Args:
        folder: The folder of the ledger, whose tables exist.
        notes: An empty folder for the socket and the log, in a short path.
        environment: Further variables.
    """

    def __init__(self, folder: Path, notes: Path, environment: dict[str, str] | None = None) -> None:
        self.socket = notes / "socket"
        self._log = notes / "log"
        command = (
            f"gunicorn tests.crash.app:create_app() --bind unix:{self.socket} --no-control-socket "
            f"--worker-class gthread --workers 2 --threads 4 --worker-tmp-dir {notes} "
            # gunicorn closes an idle connection after this time, also a new one, and a busy machine is slow
            "--keep-alive 60"
        )
        read_end, write_end = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=ROOT,
                env=child_environment() | {"LEDGER_FOLDER": str(folder)} | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(write_end,),
            )
        os.close(write_end)
        self._alive = read_end  # the pipe ends when the last process has ended

    @property
    def output(self) -> str:
        """Return the output so far."""
        return self._log.read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        """Return the process ids of all workers started so far."""
        return [int(pid) for pid in _WORKER.findall(self.output)]

    def wait_until_it_serves(self, workers: int = 2) -> None:
        """Wait until this many workers were started and an account can be read."""
        end = time.monotonic() + PATIENCE
        while len(self.workers) < workers or not self._answers():
            assert time.monotonic() < end, f"gunicorn does not serve:\n{self.output}"
            time.sleep(0.01)

    def kill_worker(self, random: Random) -> None:
        """Kill one of the workers."""
        if self.workers:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            os.kill(int(random.choice(children)), signal.SIGKILL) if children else None

    def kill(self) -> None:
        """Kill the master and the workers, and wait until all have ended."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        assert os.read(self._alive, 1) == b""
        os.close(self._alive)

    def _answers(self) -> bool:
        try:
            with closing(Connection(self.socket)) as connection:
                return ask(connection, "GET", "/accounts/nobody").status == 200
        except (OSError, HTTPException):
            return False


class Served:
    """gunicorn and its clients.

    Args:
        folder: The folder of the ledger, whose tables exist.
        notes: An empty folder for the socket and the log, in a short path.
        name: The start of keys.
        random: Chooses the victims.
        environment: Further variables of the server's processes.
    """

    def __init__(self, folder: Path, notes: Path, name: str, random: Random, environment: dict[str, str]) -> None:
        self._random = random
        self._server = Gunicorn(folder, notes, environment)
        self._clients = Clients(self._server.socket, name)

    def kill_one(self) -> None:
        self._server.kill_worker(self._random)

    def kill(self) -> None:
        self._server.kill()
        self._clients.stop()

    @property
    def acknowledged(self) -> list[str]:
        return list(self._clients.acknowledged)

    @property
    def errors(self) -> str:
        traceback = self._server.output if "Traceback" in self._server.output else ""
        return "\n".join([*map(str, self._clients.refusals[:5]), traceback]).strip()


def empty(folder: Path) -> Path:
    """Return a folder without its content."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
