"""Those who work on a ledger until they are killed: bare worker processes, or gunicorn with clients."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Protocol

from flask_convex_http.sqlite.checkpoints import CHECKPOINT_BYTES
from tests.crash.clients import PATIENCE, Clients, Connection, ask
from tests.crash.nursery import ROOT, Nursery, Worker

#: How much is written from one checkpoint to the next: as the package has it, or so little that many are interrupted.
_CHECKPOINT_BYTES = (CHECKPOINT_BYTES, 2**16)
#: Seconds from opening to closing, when SQLite folds its log into the database and removes it, unless others use it.
_SESSIONS = (60.0, 0.05)
_WORKER = re.compile(r"Booting worker with pid: (\d+)")


class Crew(Protocol):
    """Processes at work."""

    def kill_one(self) -> None:
        """Kill one process; another takes its place."""

    def kill(self) -> None:
        """Kill all, and wait until none does anything any more."""

    @property
    def acknowledged(self) -> list[str]:
        """The keys of what was acknowledged so far."""

    @property
    def errors(self) -> str:
        """What went wrong so far, empty if nothing did."""


class Processes:
    """Two processes of four threads each that run the backend without a server.

    Args:
        nursery: Starts them.
        folder: The ledger's; made ready by the first process if it is not.
        notes: An empty folder for what they have to say.
        name: What their keys start with.
        random: Chooses who is killed, how often there are checkpoints, and how long the ledger stays open.
        environment: What they get besides.
        is_ready: Whether the ledger's tables are there.
        settings: More settings of the app.
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
        return path.read_text() if path.exists() else ""  # killed before it could say anything

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
        folder: The ledger's; its tables are there.
        notes: An empty folder for the socket and the log, in a short path.
        environment: What the processes get besides.
    """

    def __init__(self, folder: Path, notes: Path, environment: dict[str, str] | None = None) -> None:
        self.socket = notes / "socket"
        self._log = notes / "log"
        command = (
            f"gunicorn tests.crash.app:create_app() --bind unix:{self.socket} --no-control-socket "
            f"--worker-class gthread --workers 2 --threads 4 --worker-tmp-dir {notes} "
            # gunicorn closes a connection that has sent nothing for so long, also a new one: a busy machine is slow
            "--keep-alive 60"
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "GUNICORN_"))}
        read_end, write_end = os.pipe()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=ROOT,
                env=inherited | {"PYTHONPATH": str(ROOT), "LEDGER_FOLDER": str(folder)} | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(write_end,),
            )
        os.close(write_end)
        self._alive = read_end  # its end comes when the last process has ended

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        """The process ids of all the workers started so far."""
        return [int(pid) for pid in _WORKER.findall(self.output)]

    def wait_until_it_serves(self, workers: int = 2) -> None:
        """Wait until so many workers were started and an account can be asked for."""
        end = time.monotonic() + PATIENCE
        while len(self.workers) < workers or not self._answers():
            assert time.monotonic() < end, f"gunicorn does not serve:\n{self.output}"
            time.sleep(0.01)

    def kill_worker(self, random: Random) -> None:
        """Kill one of the workers that are there."""
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
        except OSError:
            return False


class Served:
    """gunicorn and its clients.

    Args:
        folder: The ledger's; its tables are there.
        notes: An empty folder for the socket and the log, in a short path.
        name: What keys start with.
        random: Chooses who is killed.
        environment: What the server's processes get besides.
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
    """A folder, made empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
