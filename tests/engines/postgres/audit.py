"""The audit of the bank: no acknowledged payment is missing, and no effect is duplicate or partial."""

import time
from collections.abc import Iterable

import psycopg

from tests.processes.servers import TIMEOUT

_SCHEDULED = "SELECT args ->> 'key' FROM _scheduled_functions WHERE name = 'bank:issue_receipt'"
#: None of these queries may return a row, at any time.
_CONTRADICTIONS = {
    "an account whose balance differs from its payments": """
        SELECT name, accounts.balance, count(*), min(payments.balance), max(payments.balance)
        FROM accounts JOIN payments ON account = name GROUP BY name, accounts.balance
        HAVING (count(*), min(payments.balance), max(payments.balance)) <> (accounts.balance, 1, accounts.balance)
        """,
    "a duplicate receipt": "SELECT key FROM receipts GROUP BY key HAVING count(*) > 1",
    "a receipt without a payment": "SELECT key FROM receipts WHERE key NOT IN (SELECT key FROM payments)",
    "a payment without a scheduled receipt": f"SELECT key FROM payments WHERE key NOT IN ({_SCHEDULED})",
    "a payment with two scheduled receipts": f"{_SCHEDULED} GROUP BY 1 HAVING count(*) > 1",
    "a failed job": """
        SELECT name, args, error FROM _scheduled_functions WHERE state NOT IN ('success', 'pending', 'inProgress')
        """,
    "a tick that fired twice": "SELECT name, tick FROM _cron_runs GROUP BY name, tick HAVING count(*) > 1",
    "a tick whose run was not recorded, or recorded and not run": """
        SELECT run, done FROM (SELECT count(*) AS run FROM ticks) AS a, (
            SELECT count(*) AS done FROM _scheduled_functions WHERE name = 'bank:tick' AND state = 'success'
        ) AS b WHERE run <> done
        """,
}
#: None of these queries returns a row once all work is done.
_UNFINISHED = {
    "a payment without its receipt": "SELECT key FROM payments WHERE key NOT IN (SELECT key FROM receipts)",
    "an unfinished job": """
        SELECT name, args, state FROM _scheduled_functions WHERE state IN ('pending', 'inProgress')
            AND name <> 'bank:tick'
        """,
}


def select(url: str, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query that another program runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def find_faults(url: str, acknowledged: Iterable[str]) -> list[str]:
    """Return the faults in the database of a bank that has no work left.

    Args:
        url: The database.
        acknowledged: The keys of the payments whose response was a success.
    """
    stored = [key for (key,) in select(url, "SELECT key FROM payments")]
    lost = sorted(set(acknowledged) - set(map(str, stored)))
    return [f"{len(lost)} acknowledged payments are lost: {lost[:5]}"] * bool(lost) + _found(url, _CONTRADICTIONS)


def wait_until_idle(url: str) -> None:
    """Wait until all jobs have ended."""
    end = time.monotonic() + TIMEOUT
    while found := _found(url, _UNFINISHED):
        assert time.monotonic() < end, f"Stuck: {found[:5]}"
        time.sleep(0.1)


def _found(url: str, contradictions: dict[str, str]) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [f"{what}: {row}" for what, sql in contradictions.items() for row in connection.execute(sql.encode())]
