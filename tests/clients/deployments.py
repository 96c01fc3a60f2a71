"""Servers of the app, and Node programs that call it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.clients.app import ISSUER
from tests.environments import node_commands_of
from tests.identities.issuer import Issuer, issuing
from tests.processes import servers
from tests.processes.servers import KEEP_ALIVE, Kind, Server, running

APP = "tests.clients.app:create_app()"
KINDS = {
    "flask": Kind(("flask", "--app", "tests.clients.app", "run", "--port", "0"), (-signal.SIGTERM,)),
    "gunicorn": Kind(
        ("gunicorn", "-c", "python:flask_convex_http.gunicorn", APP, "--bind", "127.0.0.1:0", *KEEP_ALIVE.split()), (0,)
    ),
}
NODE_PACKAGES = ("convex@1.49.0", "react@19.3.1", "@types/react@19.3.3", "typescript@5.9.3")
NODE = Path(__file__).with_name("node")


class Deployment(servers.Deployment):
    """A folder with a database for the app of these tests, and the processes that work on it.

    Args:
        folder: An empty folder.
        issuer: The issuer of tokens.
    """

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        super().__init__(folder)
        self._issuer = issuer

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of the deployment."""
        return super().environment | {ISSUER: self._issuer.url}

    def migrate(self) -> None:
        """Create the tables."""
        done = self.command("migrate")
        assert done.returncode == 0, done.stderr

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `flask convex ...` to its end."""
        command = [sys.executable, "-m", "flask", "--app", "tests.clients.app", "convex", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=servers.TIMEOUT
        )


class Node:
    """A folder with npm packages, the generated modules of the app, and programs that use them.

    Args:
        config: The configuration of pytest.
        folder: An empty folder.
    """

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.commands = node_commands_of(config, *NODE_PACKAGES)
        self.folder = folder
        shutil.copytree(NODE, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(self.commands.parent)

    def run(self, program: str, *arguments: str, **variables: str) -> str:
        """Run a program that must succeed, and return its output."""
        return self._run(["node", program, *arguments], variables)

    def command(self, name: str, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run a command of a package that must succeed and return its output, or fail and return its errors as well."""
        return self._run([str(self.commands / name), *arguments], variables, fails=fails)

    def _run(self, command: list[str], variables: dict[str, str], *, fails: bool = False) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=servers.TIMEOUT,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr if fails else done.stdout


@contextmanager
def deployed(folder: Path) -> Iterator[tuple[Deployment, Issuer]]:
    """Yield a migrated deployment and its issuer of tokens."""
    with issuing() as issuer:
        deployment = Deployment(folder, issuer)
        deployment.migrate()
        yield deployment, issuer


def serving(kind: str, deployment: Deployment) -> AbstractContextManager[Server]:
    """Run a server of the app."""
    return running(Server(deployment, KINDS[kind]))
