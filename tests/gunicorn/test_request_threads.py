"""The threads of a worker."""

import threading
from queue import SimpleQueue

from flask_convex_http.gunicorn.request_threads import Threads
from tests.sqlite.limits import no_more_threads


def test_as_many_threads_as_are_needed() -> None:
    """Connections that come one after another share a thread, and those at the same time get their own, to a limit."""
    served: SimpleQueue[str] = SimpleQueue()
    barrier = threading.Barrier(3)

    def serve(connection: str) -> None:
        if connection == "together":
            barrier.wait(20)
        served.put(threading.current_thread().name)

    threads = Threads(2, serve)
    threads.put("alone")
    first = served.get(timeout=20)
    for _ in range(2):
        threads.put("together")
    barrier.wait(20)
    assert len({served.get(timeout=20), served.get(timeout=20)}) == 2
    for _ in range(10):
        threads.put("alone")
    names = {served.get(timeout=20) for _ in range(10)}
    threads.shutdown()
    assert len(names | {first}) <= 2


def test_a_system_without_threads_serves_with_those_that_run() -> None:
    """A connection is served by a running thread if the system has no more of them."""
    served: SimpleQueue[int] = SimpleQueue()
    go = threading.Event()

    def serve(connection: int) -> None:
        go.wait(20)
        served.put(connection)

    threads = Threads(2, serve)
    threads.put(1)
    with no_more_threads():
        threads.put(2)
    go.set()
    assert [served.get(timeout=20), served.get(timeout=20)] == [1, 2]
    threads.shutdown()
