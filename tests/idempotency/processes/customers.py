"""Customers: threads that send payments without pause, each as simultaneous copies with one key, until one is paid."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.crash.clients import PATIENCE
from tests.example.deliveries import Delivery
from tests.idempotency.processes.shop import FLAKY
from tests.inbox.processes.crews import Server
from tests.inbox.processes.senders import together
from tests.processes.servers import Response

#: The number of requests with one key at the same time.
COPIES = 3
#: Seconds between two attempts.
_RETRY = 0.02
#: The number of payments after which a request is sent once more, and once with another body.
_LATE = 10


class UnexpectedResponseError(Exception):
    """A response that no client should get."""


class _GaveUpError(Exception):
    """The time for sending is over."""


class Customer:
    """A thread that sends one payment after another.

    Args:
        servers: The servers.
        name: The start of its keys.

    Attributes:
        receipts: The receipt of each key.
        faults: Responses that no client should get.
        replays: The number of stored responses that it has received.
    """

    def __init__(self, servers: Sequence[Server], name: str) -> None:
        self.receipts: dict[str, str] = {}
        self.faults: list[str] = []
        self.replays = 0
        self._servers, self._name, self._random = servers, name, Random(name)
        self._stopped, self._gives_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current payment."""
        self._stopped.set()

    def give_up(self) -> None:
        """Stop at once."""
        self._stopped.set()
        self._gives_up.set()

    def join(self) -> None:
        """Wait until the thread ends."""
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), f"A payment of {self._name} is not accepted: {self.faults}"

    def _run(self) -> None:
        try:
            for number in itertools.takewhile(lambda _: not self._stopped.is_set(), itertools.count()):
                self._pay(f"{self._name}-{number}")
                if number >= _LATE:
                    self._repeat(f"{self._name}-{number - _LATE}")
        except UnexpectedResponseError as error:
            self.faults.append(str(error))
        except _GaveUpError:
            return

    def _pay(self, key: str) -> None:
        """Send a payment as copies, all of which must get one receipt."""
        body = {"key": key, "risk": 0.2, "takes": self._random.choice((0, 0.01, 0.04))}
        answers = together(COPIES, lambda copy: self._insist(key, body, copy))
        if len({(answer.status, answer.body, answer.headers["x-receipt"]) for answer in answers}) != 1:
            raise UnexpectedResponseError(f"Requests with the key {key} got different responses: {answers}")
        self.receipts[key] = answers[0].body.decode()
        self.replays += sum("idempotency-replayed" in answer.headers for answer in answers)

    def _repeat(self, key: str) -> None:
        """Send another body with the key of an earlier payment, which must be 422."""
        answer = self._insist(key, {"key": key, "takes": 0.001}, self._random.randrange(2), expected=422)
        if b"used for another request" not in answer.body:
            raise UnexpectedResponseError(f"Another body with the key {key} got {answer}")

    def _insist(self, key: str, body: dict[str, Any], attempt: int, expected: int = 201) -> Response:
        """Send a request until it has the expected status, to the servers in turn."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        request = Delivery("/payments", json.dumps(body).encode(), headers)
        while not self._gives_up.is_set():
            attempt += 1
            answer = self._send(self._servers[attempt % len(self._servers)], request)
            if answer is not None and answer.status == expected:
                return answer
            _check(key, answer)
            time.sleep(_RETRY)
        raise _GaveUpError

    def _send(self, server: Server, request: Delivery) -> Response | None:
        try:
            return server.deliver(request)
        except (OSError, http.client.HTTPException):  # the server is not listening, or was killed
            return None


@contextmanager
def paying(servers: Sequence[Server], count: int) -> Iterator[list[Customer]]:
    """Run customers until all their payments are accepted. After a failure they stop at once."""
    customers = [Customer(servers, f"customer-{number}") for number in range(count)]
    try:
        yield customers
        for customer in customers:
            customer.stop()
        for customer in customers:
            customer.join()
    finally:
        for customer in customers:
            customer.give_up()


def _check(key: str, answer: Response | None) -> None:
    """Raise for a response other than a dead server, an intended failure, a running copy and an overload."""
    if answer is None or answer.status == FLAKY:
        return
    if answer.status not in (409, 503) or "retry-after" not in answer.headers:
        raise UnexpectedResponseError(f"A request with the key {key} got {answer}")
