"""Clients that pay into the bank without pause, and send each payment until its response is a success."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from random import Random

from tests.processes.servers import TIMEOUT, Response, Server

ACCOUNTS = [f"account-{number}" for number in range(6)]
#: Seconds until a payment is sent again.
_RETRY = 0.05


class _AbortedError(Exception):
    """The payer was aborted."""


class Payer:
    """A thread that makes one payment after another.

    Args:
        machines: The machines. A payment goes to a random one, and to the next one after an error.
        name: The prefix of the keys.
        accounts: The accounts to pay into, in random order.

    Attributes:
        acknowledged: The keys of the payments whose response was 200, or 409 because the payment existed.
        moments: The time of each of these responses, on the monotonic clock.
        faults: Responses that a client should never get.
        longest: The longest response time in seconds.
    """

    def __init__(self, machines: Sequence[Server], name: str, accounts: Sequence[str] = ACCOUNTS) -> None:
        self.acknowledged: list[str] = []
        self.moments: list[float] = []
        self.faults: list[str] = []
        self.longest = 0.0
        self._machines, self._accounts = machines, accounts
        self._random = Random(name)
        self._keys = (f"{name}-{number}" for number in itertools.count())
        self._stopped, self._aborted = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current payment has succeeded."""
        self._stopped.set()

    def abort(self) -> None:
        """Stop at once, even if the current payment has not succeeded."""
        self._stopped.set()
        self._aborted.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), "A payment does not succeed"

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._pay(next(self._keys))
        except _AbortedError:
            return

    def _pay(self, key: str) -> None:
        account, place = self._random.choice(self._accounts), self._random.randrange(len(self._machines))
        order = {"key": key, "account": account}
        while self._request(place, "POST", "/payments", order) not in (200, 409):
            place += 1
        self.acknowledged.append(key)
        self.moments.append(time.monotonic())
        if self._random.random() < 0.3:
            self._read(account, place)

    def _read(self, account: str, place: int) -> None:
        while self._request(place, "GET", f"/accounts/{account}") != 200:
            place += 1

    def _request(self, place: int, method: str, path: str, body: object = None) -> int:
        """Send a request and return the status, or 0 if there was no response. Pause after an error and after a 503."""
        if self._aborted.is_set():
            raise _AbortedError
        start = time.monotonic()
        try:
            response = self._machines[place % len(self._machines)].request(method, path, body)
        except (OSError, HTTPException) as error:
            self.faults.append(f"{method} {path}: {error!r}")
            time.sleep(_RETRY)
            return 0
        self.longest = max(self.longest, time.monotonic() - start)
        if not _is_expected(response):
            self.faults.append(f"{method} {path}: {response}")
        if response.status == 503:
            time.sleep(_RETRY)
        return response.status


def _is_expected(response: Response) -> bool:
    if response.status == 503:
        return "retry-after" in response.headers
    return response.status == 409 or (response.status == 200 and response.json != {"torn": True})


@contextmanager
def paying(machines: Sequence[Server], name: str, count: int = 6) -> Iterator[list[Payer]]:
    """Run payers until the end of the `with` block, and wait until their payments have succeeded unless it fails."""
    payers = [Payer(machines, f"{name}-{number}") for number in range(count)]
    try:
        yield payers
        for payer in payers:
            payer.stop()
        for payer in payers:
            payer.join()
    finally:
        for payer in payers:
            payer.abort()
