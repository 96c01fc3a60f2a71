"""The environment of the peers written in Python, and PocketBase, which is a package of the index too.

They are not in the lock of the development environment, since only this comparison needs them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks import slow_sync
from benchmarks.servers import PeerMissingError

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def commands() -> Path:
    """Install the missing packages, and return the folder of the environment's commands.

    Raises:
        PeerMissingError: pip cannot install the packages.
    """
    version = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = slow_sync.cache() / f"peers-{version}"
    finished = folder / "finished"
    if not finished.exists():
        print("  (installing the peers, which takes a minute)", flush=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "-r", str(_REQUIREMENTS))
        finished.touch()
    return folder / "bin"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissingError(f"{command[0]} failed:\n{done.stderr[-500:]}")
