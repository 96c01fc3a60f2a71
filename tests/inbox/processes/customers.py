"""Customers: threads that send events without pause, each as simultaneous duplicates, until each event is accepted."""

import http.client
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.crash.clients import PATIENCE
from tests.example.deliveries import Delivery
from tests.inbox.processes.crews import Server
from tests.inbox.processes.senders import AT_ONCE, SENDERS, together
from tests.inbox.processes.shop import DECLINED, FLAKY
from tests.processes.servers import Response

#: The number of duplicates sent at the same time.
COPIES = 4
#: Seconds between two attempts, as a provider waits, but much shorter.
_RETRY = 0.02
#: The number of events after which a delivery is sent once more.
_LATE = 10


class RefusedError(Exception):
    """A response that no sender should get."""


class _GaveUpError(Exception):
    """The time for sending is over."""


class Customer:
    """A thread that sends one event after another.

    Args:
        servers: The servers.
        sender: Signs the events.
        name: The customer of the events.

    Attributes:
        acknowledged: The events of which a duplicate was accepted.
        faults: Responses that no sender should get.
    """

    def __init__(self, servers: Sequence[Server], sender: str, name: str) -> None:
        self.acknowledged: set[str] = set()
        self.faults: list[str] = []
        self._servers, self._sender, self._name = servers, sender, name
        self._random = Random(name)
        self._stopped, self._gives_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current event."""
        self._stopped.set()

    def give_up(self) -> None:
        """Stop at once."""
        self._stopped.set()
        self._gives_up.set()

    def join(self) -> None:
        """Wait until the thread ends."""
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), f"An event of {self._name} is not accepted: {self.faults}"

    def _run(self) -> None:
        try:
            for number in itertools.takewhile(lambda _: not self._stopped.is_set(), itertools.count()):
                self._tell(number)
        except RefusedError as error:
            self.faults.append(str(error))
        except _GaveUpError:
            return

    def _tell(self, number: int) -> None:
        """Deliver an event as duplicates, and send one that was accepted earlier once more."""
        random = self._random
        change = {"customer": self._name, "number": number, "risk": 0.2, "ticket": random.random() < 0.5}
        change["takes"] = random.choice((0, 0.01, 0.04))
        answers = together(COPIES, lambda copy: self._insist(change, copy))
        if self._sender in AT_ONCE and len({(answer.status, answer.body) for answer in answers}) != 1:
            raise RefusedError(f"Copies of event {number} of {self._name} were answered differently: {answers}")
        if number >= _LATE:
            self._insist({**change, "number": number - _LATE}, number)

    def _insist(self, change: dict[str, Any], attempt: int) -> Response:
        """Send a delivery until it is accepted, with a fresh signature each time, to the servers in turn."""
        event_id = f"{self._sender}-{self._name}-{change['number']}"
        while not self._gives_up.is_set():
            attempt += 1
            answer = self._send(self._servers[attempt % len(self._servers)], SENDERS[self._sender](event_id, change))
            if answer is not None and answer.status < 300:
                self.acknowledged.add(event_id)
                return answer
            _check(event_id, answer)
            time.sleep(_RETRY)
        raise _GaveUpError

    def _send(self, server: Server, delivery: Delivery) -> Response | None:
        try:
            return server.deliver(delivery)
        except (OSError, http.client.HTTPException):  # the server is not listening, or was killed
            return None


@contextmanager
def sending(servers: Sequence[Server], name: str) -> Iterator[list[Customer]]:
    """Run one customer for each sender until all their events are accepted. After a failure they stop at once."""
    customers = [Customer(servers, sender, f"{name}-{sender}") for sender in SENDERS]
    try:
        yield customers
        for customer in customers:
            customer.stop()
        for customer in customers:
            customer.join()
    finally:
        for customer in customers:
            customer.give_up()


def _check(event_id: str, answer: Response | None) -> None:
    """Raise for a response other than a dead server, an intended failure and the end of the time."""
    if answer is None or answer.status in (FLAKY, DECLINED):
        return
    if answer.status != 503 or "retry-after" not in answer.headers:
        raise RefusedError(f"{event_id} was answered {answer}")
