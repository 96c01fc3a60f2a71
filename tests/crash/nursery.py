"""An interpreter that forks worker processes within milliseconds: it has imported everything and opened nothing.

Run as a program it reads orders as lines of JSON, and writes a process id for each. `Nursery` is the other side.
"""

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.child_processes import ROOT, child_environment
from tests.crash.workers import TASKS


class Nursery:
    """Starts worker processes.

    Args:
        program: The module that they are forked from, whose `main` forks a child for each order.
        arguments: Arguments of the program.
        environment: Their environment, by default that of this process.
        log: The file for their errors. By default they have those of this process.
    """

    def __init__(
        self,
        program: str = __name__,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        with nullcontext() if log is None else log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", program, *arguments],
                cwd=ROOT,
                env=child_environment() if environment is None else environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def start(self, task: str, environment: dict[str, str] | None = None, **arguments: Any) -> "Worker":
        """Start a process for a task."""
        return Worker(self.fork(task, environment, **arguments))

    def fork(self, task: str, environment: dict[str, str] | None = None, **arguments: Any) -> int:
        """Start a process for a task, and return its id."""
        assert self._process.stdin and self._process.stdout
        order = {"task": task, "environment": environment or {}, "arguments": arguments}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the nursery. Its children live on."""
        self._process.communicate()


class Worker:
    """A process that another one forked. A file descriptor identifies it, since its id may be reused.

    Args:
        pid: The process id.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1

    def kill(self) -> None:
        """Kill the process at once."""
        if self._descriptor < 0:
            return
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until the process has ended and writes no more."""
        if self._descriptor < 0:
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        assert poll.poll(seconds * 1000), "A worker process did not end"
        os.close(self._descriptor)
        self._descriptor = -1


def main() -> None:
    """Fork a child for each order."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no exit status is needed, so no child becomes a zombie
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(order)
        print(pid, flush=True)


def _work(order: dict[str, Any]) -> None:
    """Carry out an order, and exit without the nursery's own clean-up."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.environ.update(order["environment"])
    try:
        TASKS[order["task"]](**order["arguments"])
    except BaseException:
        traceback.print_exc()
    os._exit(0)


if __name__ == "__main__":
    main()
