"""Kill -9 at random times of servers that receive copies of idempotent requests, and of their PostgreSQL.

IDEMPOTENCY_KILLS is the number of kills. CRASH_SEED repeats the random choices, but not their timing.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from tests.databases import EACH_ENGINE, SLOW_ON_POSTGRES, databases_from, rows
from tests.engines.postgres.failures import FAILURES, durable_server, start
from tests.idempotency.processes.customers import Customer, paying
from tests.idempotency.processes.shop import create_app
from tests.inbox.processes.crews import Nursery, Server, at_work, kill_some
from tests.killing import seeded_random, short_folder
from tests.lengths import LONG, SAMPLED, repetitions
from tests.sqlite.crews import wait_until
from tests.web.apps import backend_of

KILLS = repetitions("IDEMPOTENCY_KILLS", sample=3, whole=20)
CUSTOMERS = 4
_SCHEDULED = "SELECT args ->> 'key' FROM _scheduled_functions"
#: Selects of rows that must never exist, while servers are killed and afterwards.
_CONTRADICTIONS = {
    "a key with more than one payment": "SELECT key FROM payments GROUP BY key HAVING count(*) > 1",
    "a key with more than one row": "SELECT key FROM _idempotency_keys GROUP BY key HAVING count(*) > 1",
    "a payment without its key": "SELECT key FROM payments WHERE key NOT IN (SELECT key FROM _idempotency_keys)",
    "a key without its payment": "SELECT key FROM _idempotency_keys WHERE key NOT IN (SELECT key FROM payments)",
    "a stored failure": "SELECT key, status FROM _idempotency_keys WHERE status <> 201",
    "a wrong total": "SELECT payments FROM totals WHERE payments <> (SELECT count(*) FROM payments)",
    "a follow-up that was not scheduled": f"SELECT key FROM payments WHERE key NOT IN ({_SCHEDULED})",
    "a follow-up that was scheduled twice": f"{_SCHEDULED} GROUP BY 1 HAVING count(*) > 1",
    "a follow-up that ran twice": "SELECT key FROM follow_ups GROUP BY key HAVING count(*) > 1",
    "a follow-up of no payment": "SELECT key FROM follow_ups WHERE key NOT IN (SELECT key FROM payments)",
}
_UNFINISHED = "SELECT key FROM payments WHERE key NOT IN (SELECT key FROM follow_ups)"


def contradictions(folder: Path) -> list[str]:
    """Return the rows that must not exist."""
    return [f"{what}: {row}" for what, sql in _CONTRADICTIONS.items() for row in rows(folder, sql)]


def environment_of(folder: Path) -> dict[str, str]:
    """Create the tables in a folder, and return the environment of servers of them."""
    app = create_app(folder, CONVEX_WORKER="off")
    with app.app_context(), closing(backend_of(app)) as backend:
        backend.migrate()
    return os.environ | {"SHOP_FOLDER": str(folder)}


def pay_and_judge(folder: Path, kill: Callable[[list[Server], list[Customer]], None]) -> None:
    """Pay during kills, and check the database."""
    environment = environment_of(folder)
    with (
        short_folder("paid-") as sockets,
        closing(Nursery(environment, folder / "log", "tests.idempotency.processes.shop")) as nursery,
        at_work(nursery, sockets) as servers,
    ):
        with paying(servers, CUSTOMERS) as customers:
            kill(servers, customers)
            assert contradictions(folder) == []
        wait_until(lambda: rows(folder, _UNFINISHED) == [])
    receipts = {key: receipt for customer in customers for key, receipt in customer.receipts.items()}
    runs = len((folder / "runs").read_text().splitlines())
    replays = sum(customer.replays for customer in customers)
    print(f"{KILLS} kills, {len(receipts)} payments, {runs} runs of the handler, {replays} stored responses")
    assert [fault for customer in customers for fault in customer.faults] == []
    assert all(customer.receipts for customer in customers)
    assert dict(rows(folder, "SELECT key, receipt FROM payments")) == receipts
    assert contradictions(folder) == []


def at_work_again(customers: list[Customer], random: Random) -> None:
    """Wait for the next payment, and then for a random part of the ones after it."""
    before = paid(customers)
    wait_until(lambda: paid(customers) > before or any(customer.faults for customer in customers))
    time.sleep(random.choice((0.3, 0.05)) * random.random())


def paid(customers: list[Customer]) -> int:
    """Return the number of payments so far."""
    return sum(len(customer.receipts) for customer in customers)


@SAMPLED
@EACH_ENGINE
@SLOW_ON_POSTGRES
def test_kills_repeat_no_payment_and_lose_none(tmp_path: Path) -> None:
    """During kills each key has its effects once, all copies get one receipt, and the receipt is that of the effects.

    A client repeats a request with the same key until it is paid. Another body with a used key is 422.
    """
    random = seeded_random()

    def kill(servers: list[Server], customers: list[Customer]) -> None:
        for _ in range(KILLS):
            at_work_again(customers, random)
            kill_some(servers, random)

    pay_and_judge(tmp_path, kill)


@LONG
def test_kills_of_the_database_repeat_no_payment_and_lose_none(tmp_path: Path) -> None:
    """The same holds if PostgreSQL is killed as well. The servers recover without a restart."""
    random = seeded_random()

    def kill(servers: list[Server], customers: list[Customer]) -> None:
        for number in range(KILLS // 2):
            at_work_again(customers, random)
            if number % 2:
                kill_some(servers, random)
            else:
                random.choice(FAILURES)(database)
                time.sleep(random.choice((0, 0.3)))
                start(database)

    with durable_server() as database, databases_from(database):
        pay_and_judge(tmp_path, kill)
