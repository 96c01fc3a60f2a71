"""Judging the books of the bank: nothing that was acknowledged is missing, nothing is there twice or by halves."""

import time
from collections.abc import Iterable

import psycopg

from tests.processes.servers import PATIENCE

_SCHEDULED = "SELECT args ->> 'key' FROM _scheduled_functions WHERE name = 'bank:issue_receipt'"
#: What each of these selects should not be there, whenever one looks.
_CONTRADICTIONS = {
    "an account that is not what its payments are": """
        SELECT name, accounts.balance, count(*), min(payments.balance), max(payments.balance)
        FROM accounts JOIN payments ON account = name GROUP BY name, accounts.balance
        HAVING (count(*), min(payments.balance), max(payments.balance)) <> (accounts.balance, 1, accounts.balance)
        """,
    "a receipt that is there twice": "SELECT key FROM receipts GROUP BY key HAVING count(*) > 1",
    "a receipt of no payment": "SELECT key FROM receipts WHERE key NOT IN (SELECT key FROM payments)",
    "a payment for which no receipt was scheduled": f"SELECT key FROM payments WHERE key NOT IN ({_SCHEDULED})",
    "a payment for which two receipts were scheduled": f"{_SCHEDULED} GROUP BY 1 HAVING count(*) > 1",
    "a function that has failed": """
        SELECT name, args, error FROM _scheduled_functions WHERE state NOT IN ('success', 'pending', 'inProgress')
        """,
    "a tick that has fired twice": "SELECT name, tick FROM _cron_runs GROUP BY name, tick HAVING count(*) > 1",
    "more or fewer runs of ticks than were recorded": """
        SELECT run, done FROM (SELECT count(*) AS run FROM ticks) AS a, (
            SELECT count(*) AS done FROM _scheduled_functions WHERE name = 'bank:tick' AND state = 'success'
        ) AS b WHERE run <> done
        """,
}
#: What has not come to an end.
_UNFINISHED = {
    "a payment without its receipt": "SELECT key FROM payments WHERE key NOT IN (SELECT key FROM receipts)",
    "a scheduled function that has not ended": """
        SELECT name, args, state FROM _scheduled_functions WHERE state IN ('pending', 'inProgress')
            AND name <> 'bank:tick'
        """,
}


def select(url: str, sql: str) -> list[tuple[object, ...]]:
    """What another program sees."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def faults(url: str, acknowledged: Iterable[str]) -> list[str]:
    """What is wrong in the books of a bank that has no more work to do."""
    there = [key for (key,) in select(url, "SELECT key FROM payments")]
    lost = sorted(set(acknowledged) - set(map(str, there)))
    return [f"{len(lost)} acknowledged payments are lost: {lost[:5]}"] * bool(lost) + _found(url, _CONTRADICTIONS)


def wait_until_all_has_ended(url: str) -> None:
    """Wait until nothing is unfinished."""
    end = time.monotonic() + PATIENCE
    while found := _found(url, _UNFINISHED):
        assert time.monotonic() < end, f"Stuck: {found[:5]}"
        time.sleep(0.1)


def _found(url: str, contradictions: dict[str, str]) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [f"{what}: {row}" for what, sql in contradictions.items() for row in connection.execute(sql.encode())]
