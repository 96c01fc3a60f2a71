"""Customers: threads that send events without pause, each as simultaneous duplicates, until each event is accepted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.inbox.processes.crews import Server
from tests.inbox.processes.persistent import PersistentClient, RefusedError, until_accepted
from tests.inbox.processes.senders import AT_ONCE, SENDERS, together
from tests.inbox.processes.shop import DECLINED, FLAKY
from tests.processes.servers import Response

#: The number of duplicates sent at the same time.
COPIES = 4
#: The number of events after which a delivery is sent once more.
_LATE = 10


class Customer(PersistentClient):
    """A thread that sends one event after another.

    Args:
        servers: The servers.
        sender: Signs the events.
        name: The customer of the events.

    Attributes:
        acknowledged: The events of which a duplicate was accepted.
    """

    thing = "event"

    def __init__(self, servers: Sequence[Server], sender: str, name: str) -> None:
        self.acknowledged: set[str] = set()
        self._sender = sender
        super().__init__(servers, name)

    def send(self, number: int) -> None:
        """Deliver an event as duplicates, and send one that was accepted earlier once more."""
        random = self._random
        change = {"customer": self._name, "number": number, "risk": 0.2, "ticket": random.random() < 0.5}
        change["takes"] = random.choice((0, 0.01, 0.04))
        answers = together(COPIES, lambda copy: self._deliver(change, copy))
        if self._sender in AT_ONCE and len({(answer.status, answer.body) for answer in answers}) != 1:
            raise RefusedError(f"Copies of event {number} of {self._name} were answered differently: {answers}")
        if number >= _LATE:
            self._deliver({**change, "number": number - _LATE}, number)

    def check(self, name: str, answer: Response | None) -> None:
        """Accept a dead server, an intended failure and the end of the time."""
        if answer is None or answer.status in (FLAKY, DECLINED):
            return
        if answer.status != 503 or "retry-after" not in answer.headers:
            raise RefusedError(f"{name} was answered {answer}")

    def _deliver(self, change: dict[str, Any], attempt: int) -> Response:
        """Send a delivery until it is accepted, with a fresh signature each time."""
        event_id = f"{self._sender}-{self._name}-{change['number']}"
        sign = SENDERS[self._sender]
        answer = self.insist(event_id, lambda: sign(event_id, change), attempt, lambda status: status < 300)
        self.acknowledged.add(event_id)
        return answer


@contextmanager
def sending(servers: Sequence[Server], name: str) -> Iterator[list[Customer]]:
    """Run one customer for each sender until all their events are accepted. After a failure they stop at once."""
    with until_accepted([Customer(servers, sender, f"{name}-{sender}") for sender in SENDERS]) as customers:
        yield customers
