"""Clients that send without pause, and repeat each request until it is accepted, while servers are killed."""

import http.client
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TypeVar

from tests.crash.clients import PATIENCE
from tests.example.deliveries import Delivery
from tests.inbox.processes.crews import Server
from tests.processes.servers import Response

#: Seconds between two attempts, as a sender waits, but much shorter.
_RETRY = 0.02


class RefusedError(Exception):
    """A response that no client should get."""


class _GaveUpError(Exception):
    """The time for sending is over."""


class PersistentClient(ABC):
    """A thread that sends one thing after another. It starts at once, so a subclass calls this constructor last.

    Args:
        servers: The servers.
        name: The name of the client, and the seed of its choices.

    Attributes:
        faults: Responses that no client should get.
    """

    #: The name of what is sent, for messages.
    thing: str

    def __init__(self, servers: Sequence[Server], name: str) -> None:
        self.faults: list[str] = []
        self._servers, self._name, self._random = servers, name, Random(name)
        self._stopped, self._gives_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @abstractmethod
    def send(self, number: int) -> None:
        """Send the thing of this number until it is accepted.

        Raises:
            RefusedError: A response is wrong.
        """

    @abstractmethod
    def check(self, name: str, answer: Response | None) -> None:
        """Check a response that is not the awaited one. None is a server that did not respond.

        Raises:
            RefusedError: The response is wrong.
        """

    def stop(self) -> None:
        """Stop after the current thing."""
        self._stopped.set()

    def give_up(self) -> None:
        """Stop at once."""
        self._stopped.set()
        self._gives_up.set()

    def join(self) -> None:
        """Wait until the thread ends."""
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), f"The {self.thing} of {self._name} is not accepted: {self.faults}"

    def insist(
        self, name: str, request: Callable[[], Delivery], attempt: int, is_awaited: Callable[[int], bool]
    ) -> Response:
        """Send a request, made anew each time, until its response has an awaited status, to the servers in turn."""
        while not self._gives_up.is_set():
            attempt += 1
            answer = _deliver(self._servers[attempt % len(self._servers)], request())
            if answer is not None and is_awaited(answer.status):
                return answer
            self.check(name, answer)
            time.sleep(_RETRY)
        raise _GaveUpError

    def _run(self) -> None:
        try:
            for number in itertools.takewhile(lambda _: not self._stopped.is_set(), itertools.count()):
                self.send(number)
        except RefusedError as error:
            self.faults.append(str(error))
        except _GaveUpError:
            return


Client = TypeVar("Client", bound=PersistentClient)


@contextmanager
def until_accepted(clients: list[Client]) -> Iterator[list[Client]]:
    """Run clients until all that they send is accepted. After a failure they stop at once."""
    try:
        yield clients
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
    finally:
        for client in clients:
            client.give_up()


def _deliver(server: Server, request: Delivery) -> Response | None:
    try:
        return server.deliver(request)
    except (OSError, http.client.HTTPException):  # the server is not listening, or was killed
        return None
