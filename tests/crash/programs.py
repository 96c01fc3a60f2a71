"""External programs of these tests: a C compiler, and strace with permission to attach to a process."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.tools import missing, tool

HERE = Path(__file__).parent


def compiled(name: str, folder: Path) -> Path:
    """Return the library made of one of the C files here."""
    compiler = tool("gcc", "gcc libc6-dev")
    library = folder / f"{name}.so"
    flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *flags, "-o", library, HERE / f"{name}.c", "-ldl"], check=True)
    return library


def strace() -> str:
    """Return the path of strace, if it may attach to processes."""
    program = tool("strace", "strace")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        attempt = [program, "-qq", "-o", os.devnull, "-p", str(process.pid)]
        with subprocess.Popen(attempt, stderr=subprocess.PIPE, text=True) as attached:
            while attached.poll() is None and not is_traced(process.pid):
                time.sleep(0.005)
            process.communicate(b"\n")
            _, complaint = attached.communicate(timeout=30)
    if complaint:
        missing(f"strace may not attach to processes here: {complaint.strip()}")
    return program


def is_traced(pid: int) -> bool:
    """Return whether a tracer is attached to every thread of a process."""
    return not any("TracerPid:\t0\n" in _text(path) for path in Path(f"/proc/{pid}/task").glob("*/status"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the thread has ended concurrently
        return ""
