"""Many simultaneous writers: each gets its turns without errors, and no write is lost between two others."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from threading import Barrier

from tests.crash.clients import PATIENCE, Connection, ask
from tests.crash.crews import Gunicorn
from tests.crash.ledger import increment, open_ledger
from tests.crash.nursery import Nursery
from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES
from tests.lengths import LONG, SAMPLED, repetitions

pytestmark = [EACH_ENGINE, SLOW_ON_POSTGRES]

PROCESSES, SECONDS = 8, repetitions("FAIRNESS_SECONDS", sample=1, whole=3)
CLIENTS, INCREMENTS = 8, 200


#: The largest ratio of turns between two processes. SQLite's queue and chance decide who is next, and on a busy machine
#: also who has a processor; without the queue some get no turn for seconds.
LUCK = {"sqlite": 5, "postgres": 10}


@SAMPLED
def test_eight_processes_get_their_turns(nursery: Nursery, tmp_path: Path, each_engine: str) -> None:
    """Of eight processes that write the same row all the time none gets an error, and none starves."""
    folder = tmp_path / "ledger"
    with closing(open_ledger(folder)) as backend:
        backend.migrate()
        backend.ctx().run_mutation(increment, account="counter")
    gate = tmp_path / "gate"
    files = [(tmp_path / f"ready-{number}", tmp_path / f"answer-{number}") for number in range(PROCESSES)]
    workers = [
        nursery.start(
            "contend",
            folder=str(folder),
            account="counter",
            ready=str(ready),
            gate=str(gate),
            seconds=SECONDS,
            answer=str(answer),
        )
        for ready, answer in files
    ]
    end = time.monotonic() + PATIENCE
    while not all(ready.exists() for ready, _ in files):
        assert time.monotonic() < end, "The processes did not start"
        time.sleep(0.005)
    gate.touch()
    for worker in workers:
        worker.wait()
    counts = [answer.read_text() for _, answer in files]
    assert all(count.isdigit() for count in counts), counts
    shares = [int(count) for count in counts]
    assert max(shares) <= LUCK[each_engine] * min(shares), shares
    with closing(open_ledger(folder)) as backend:
        assert backend.ctx().run_mutation(increment, account="counter") == sum(shares) + 2


@LONG
def test_parallel_increments_add_up(tmp_path: Path, memory: Path) -> None:
    """Two hundred increments by clients of gunicorn's processes and threads add up, each with a response."""
    folder = tmp_path / "ledger"
    with closing(open_ledger(folder)) as backend:
        backend.migrate()
    server = Gunicorn(folder, memory)
    try:
        server.wait_until_it_serves()
        totals = _increment_at_once(server)
    finally:
        server.kill()
    assert sorted(totals) == list(range(1, INCREMENTS + 1))
    with closing(open_ledger(folder)) as backend:
        assert backend.ctx().run_mutation(increment, account="counter") == INCREMENTS + 1


def _increment_at_once(server: Gunicorn) -> list[int]:
    """Return the totals in the clients' responses. Each request has a connection, so that both workers get some."""
    barrier = Barrier(CLIENTS)
    totals: list[int] = []

    def client() -> None:
        barrier.wait(PATIENCE)
        for _ in range(INCREMENTS // CLIENTS):
            with closing(Connection(server.socket)) as connection:
                try:
                    answer = ask(connection, "POST", "/counters/counter")
                except (OSError, HTTPException) as error:
                    raise AssertionError(f"{error!r}; the server has said:\n{server.output}") from error
            assert answer.status == 200, answer
            totals.append(answer.json["total"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    return totals
