"""Convex's own WebSocket client in JavaScript against real servers."""

import base64
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.databases import EACH_ENGINE
from tests.environments import commands_of, node_commands_of
from tests.identities.issuer import Issuer
from tests.lengths import LONG
from tests.sync.processes import chat_server

pytestmark = [EACH_ENGINE, LONG, pytest.mark.timeout(600)]  # the first run installs the packages

_SCRIPT = Path(__file__).with_name("convex_client.cjs")
_PYTHON_SCRIPT = Path(__file__).with_name("python_client.py")
_REACT_SCRIPT = Path(__file__).with_name("react_client.cjs")
_REACT_PACKAGES = ("convex@1.49.0", "react@19.2.0", "react-dom@19.2.0", "jsdom@26.1.0")
_TIMEOUT = 90.0
each_kind = pytest.mark.parametrize("kind", ["flask", "gunicorn"])


@pytest.fixture(name="packages", scope="module")
def _packages(pytestconfig: pytest.Config) -> Path:
    return node_commands_of(pytestconfig, "convex@1.49.0").parent


@contextmanager
def client(packages: Path, url: str, scenario: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield Convex's client, which runs a scenario."""
    process = subprocess.Popen(
        ["node", str(_SCRIPT), str(packages), url, scenario, *arguments], stdout=subprocess.PIPE, text=True
    )
    timer = threading.Timer(_TIMEOUT, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    """Yield the lines of a client."""
    assert process.stdout is not None
    for line in process.stdout:
        assert not line.startswith("FAILED"), line
        if line.startswith(("SENT", "COUNT", "DONE")):  # others are those of the client itself
            yield line.strip()


@each_kind
def test_queries_mutations_and_actions(kind: str, packages: Path, tmp_path: Path) -> None:
    """Live queries, own writes before the promise, errors with data and actions work as with Convex."""
    with chat_server(kind, tmp_path) as server, client(packages, server.url, "basics") as process:
        assert "DONE" in list(lines(process))


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_no_confirmed_write_is_lost_or_repeated(end: str, packages: Path, tmp_path: Path) -> None:
    """A client goes on after a restart of the server, or the death of the worker, and each mutation runs once."""
    with chat_server("gunicorn", tmp_path) as server, client(packages, server.url, "stream") as process:
        sent = -1
        ended = False
        for line in lines(process):
            word, number = line.split()
            if word == "SENT":
                assert int(number) == sent + 1
                sent = int(number)
            else:
                assert int(number) <= sent + 2  # the write that is not confirmed yet may be there
            if sent == 20 and not ended:
                ended = True
                if end == "restart":
                    server.stop()
                    server.start()
                else:
                    for pid in server.workers():
                        os.kill(pid, signal.SIGKILL)
            if sent == 40:
                break
        assert sent == 40, server.output


def test_the_python_client(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Convex's WebSocket client in Python subscribes, mutates and gets errors with data."""
    python = commands_of(pytestconfig, "convex==0.8.1") / "python"
    with chat_server("gunicorn", tmp_path) as server:
        done = subprocess.run(
            [str(python), str(_PYTHON_SCRIPT), server.url],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    assert done.stdout == "DONE\n", done.stderr


def test_react_hooks(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """`useQuery`, `usePaginatedQuery` and `useMutation` with an optimistic update work as with Convex."""
    packages = node_commands_of(
        pytestconfig, "convex@1.49.0", "react@19.2.0", "react-dom@19.2.0", "jsdom@26.1.0"
    ).parent
    with chat_server("gunicorn", tmp_path) as server:
        command = ["node", str(_REACT_SCRIPT), str(packages), server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert "DONE" in done.stdout, done.stdout + done.stderr


def test_tokens(packages: Path, tmp_path: Path) -> None:
    """`setAuth` with a JWT runs the queries that ask for the identity again."""
    issuer = Issuer()
    token = issuer.token(iss="https://issuer.example", aud="chat", sub="alice")
    keys = base64.b64encode(issuer.body("/jwks.json")).decode()
    with (
        chat_server("gunicorn", tmp_path, CHAT_JWKS=f"data:application/json;base64,{keys}") as server,
        client(packages, server.url, "auth", token) as process,
    ):
        assert "DONE" in list(lines(process)), server.output
