"""Customers: threads that send payments without pause, each as simultaneous copies with one key, until one is paid."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.example.deliveries import Delivery
from tests.idempotency.processes.shop import FLAKY
from tests.inbox.processes.crews import Server
from tests.inbox.processes.persistent import PersistentClient, RefusedError, until_accepted
from tests.inbox.processes.senders import together
from tests.processes.servers import Response

#: The number of requests with one key at the same time.
COPIES = 3
#: The number of payments after which a request is sent once more, and once with another body.
_LATE = 10


class Customer(PersistentClient):
    """A thread that sends one payment after another.

    Args:
        servers: The servers.
        name: The start of its keys.

    Attributes:
        receipts: The receipt of each key.
        replays: The number of stored responses that it has received.
    """

    thing = "payment"

    def __init__(self, servers: Sequence[Server], name: str) -> None:
        self.receipts: dict[str, str] = {}
        self.replays = 0
        super().__init__(servers, name)

    def send(self, number: int) -> None:
        """Pay, and send another body with the key of an earlier payment."""
        self._pay(f"{self._name}-{number}")
        if number >= _LATE:
            self._repeat(f"{self._name}-{number - _LATE}")

    def check(self, name: str, answer: Response | None) -> None:
        """Accept a dead server, an intended failure, a running copy and an overload."""
        if answer is None or answer.status == FLAKY:
            return
        if answer.status not in (409, 503) or "retry-after" not in answer.headers:
            raise RefusedError(f"A request with the key {name} got {answer}")

    def _pay(self, key: str) -> None:
        """Send a payment as copies, all of which must get one receipt."""
        body = {"key": key, "risk": 0.2, "takes": self._random.choice((0, 0.01, 0.04))}
        answers = together(COPIES, lambda copy: self._request(key, body, copy))
        if len({(answer.status, answer.body, answer.headers["x-receipt"]) for answer in answers}) != 1:
            raise RefusedError(f"Requests with the key {key} got different responses: {answers}")
        self.receipts[key] = answers[0].body.decode()
        self.replays += sum("idempotency-replayed" in answer.headers for answer in answers)

    def _repeat(self, key: str) -> None:
        """Send another body with the key of an earlier payment, which must be 422."""
        answer = self._request(key, {"key": key, "takes": 0.001}, self._random.randrange(2), expected=422)
        if b"used for another request" not in answer.body:
            raise RefusedError(f"Another body with the key {key} got {answer}")

    def _request(self, key: str, body: dict[str, Any], attempt: int, expected: int = 201) -> Response:
        """Send a request until it has the expected status."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = Delivery("/payments", json.dumps(body).encode(), headers)
        return self.insist(key, lambda: request, attempt, lambda status: status == expected)


@contextmanager
def paying(servers: Sequence[Server], count: int) -> Iterator[list[Customer]]:
    """Run customers until all their payments are accepted. After a failure they stop at once."""
    with until_accepted([Customer(servers, f"customer-{number}") for number in range(count)]) as customers:
        yield customers
