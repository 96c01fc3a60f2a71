"""Clients of a ledger on a Unix socket: they post without pause and record the responses."""

import http.client
import itertools
import json
import socket
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.crash.workers import ACCOUNTS, NOTE_SIZES

#: Seconds after which a response counts as missing, far more than it needs.
PATIENCE = 30.0


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket.

    Args:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Answer:
    """A response, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """Return the body, which must be JSON."""
        assert self.headers.get("content-type") == "application/json", self
        return json.loads(self.body)


def ask(connection: Connection, method: str, path: str, body: Any = None) -> Answer:
    """Send a request over a connection, with a body in JSON."""
    start = time.monotonic()
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read(), time.monotonic() - start)


@dataclass
class Clients:
    """Threads that post entries until they are stopped.

    Attributes:
        path: The server's socket.
        prefix: The start of all their keys.
        acknowledged: The keys that got 201.
        refusals: The responses that were neither 201 nor an intended 400.
    """

    path: Path
    prefix: str
    count: int = 6
    acknowledged: list[str] = field(default_factory=list)
    refusals: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(self.count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait until all threads have ended."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "A client waits for an answer that does not come"

    def _run(self, client: int) -> None:
        random = Random(f"{self.prefix}-{client}")
        keys = (f"{self.prefix}-{client}-{number}" for number in itertools.count())
        while not self._stopped.is_set():
            try:
                with closing(Connection(self.path)) as connection:
                    self._post(connection, keys, random)
            except (
                OSError,
                http.client.HTTPException,
            ):  # the server is down or was killed: not acknowledged
                self._stopped.wait(0.01)

    def _post(self, connection: Connection, keys: Any, random: Random) -> None:
        """Post over one connection until stopped."""
        for key in keys:
            if self._stopped.is_set():
                return
            refused = random.random() < 0.1
            posting = {
                "key": f"refused-{key}" if refused else key,
                "account": random.choice(ACCOUNTS),
                "amount": random.randint(-100, 100),
                "note": "x" * random.choice(NOTE_SIZES),
                "refused": refused,
                "has_receipt": random.random() < 0.04,
            }
            answer = ask(connection, "POST", "/entries", posting)
            if answer.status == 201:
                self.acknowledged.append(str(posting["key"]))
            elif not (refused and answer.status == 400):
                self.refusals.append(answer)
