"""Those who pay into the bank without pause, each payment again and again until it is known to be made."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from tests.processes.servers import PATIENCE, Answer, Server

ACCOUNTS = [f"account-{number}" for number in range(6)]
#: Seconds until a payment is sent again.
_RETRY = 0.05


class _GaveUpError(Exception):
    """There was no time to send any more."""


class Payer:
    """A thread that makes one payment after another.

    Args:
        machines: Where to; one after the other, unless one does not answer.
        name: What its keys start with.
        accounts: Into which.

    Attributes:
        acknowledged: The keys of the payments that were answered 200, or that are there already.
        moments: When each of them was.
        faults: Answers that no client should get.
        longest: How many seconds an answer took at most.
    """

    def __init__(self, machines: Sequence[Server], name: str, accounts: Sequence[str] = ACCOUNTS) -> None:
        self.acknowledged: list[str] = []
        self.moments: list[float] = []
        self.faults: list[str] = []
        self.longest = 0.0
        self._machines, self._accounts = machines, accounts
        self._random = Random(name)
        self._keys = (f"{name}-{number}" for number in itertools.count())
        self._stopped, self._gives_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Make no further payment than the one that is being made."""
        self._stopped.set()

    def give_up(self) -> None:
        """Send nothing more at all."""
        self._stopped.set()
        self._gives_up.set()

    def join(self) -> None:
        """Wait until it sends nothing more."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "A payment is not made"

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._pay(next(self._keys))
        except _GaveUpError:
            return

    def _pay(self, key: str) -> None:
        account, place = self._random.choice(self._accounts), self._random.randrange(len(self._machines))
        order = {"key": key, "account": account}
        while self._ask(place, "POST", "/payments", order) not in (200, 409):
            place += 1
        self.acknowledged.append(key)
        self.moments.append(time.monotonic())
        if self._random.random() < 0.3:
            self._look(account, place)

    def _look(self, account: str, place: int) -> None:
        while self._ask(place, "GET", f"/accounts/{account}") != 200:
            place += 1

    def _ask(self, place: int, method: str, path: str, body: object = None) -> int:
        """The status; a while later, if it is one with which to come back."""
        if self._gives_up.is_set():
            raise _GaveUpError
        start = time.monotonic()
        try:
            answer = self._machines[place % len(self._machines)].request(method, path, body)
        except OSError as error:
            self.faults.append(f"{method} {path}: {error!r}")
            time.sleep(_RETRY)
            return 0
        self.longest = max(self.longest, time.monotonic() - start)
        if not _is_proper(answer):
            self.faults.append(f"{method} {path}: {answer}")
        if answer.status == 503:
            time.sleep(_RETRY)
        return answer.status


def _is_proper(answer: Answer) -> bool:
    if answer.status == 503:
        return "retry-after" in answer.headers
    return answer.status == 409 or (answer.status == 200 and answer.json != {"torn": True})


@contextmanager
def paying(machines: Sequence[Server], name: str, count: int = 6) -> Iterator[list[Payer]]:
    """So many payers, who go on until all their payments are made; if something fails they give up."""
    payers = [Payer(machines, f"{name}-{number}") for number in range(count)]
    try:
        yield payers
        for payer in payers:
            payer.stop()
        for payer in payers:
            payer.join()
    finally:
        for payer in payers:
            payer.give_up()
