"""Connections to PostgreSQL that are lost, all in use or impossible."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flask_convex_http import (
    OverloadedError,
    UnavailableError,
)
from flask_convex_http.engines import Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from tests.databases import PostgresServer
from tests.engines.members import (
    ITEMS,
    SCHEMA,
    increment,
    price,
    price_of,
)


def terminate_connections(postgres: PostgresServer) -> None:
    """Terminate all connections except the one that runs this."""
    postgres.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )


def test_terminated_idle_connections_are_replaced(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """A read, a lookup and a write succeed after all idle connections were terminated."""
    for use in (lambda: price(engine), lambda: engine.lookup(ITEMS, {"name": "x"}), lambda: increment(engine, "a")):
        terminate_connections(postgres)
        use()
    assert price(engine) == 2


def test_connection_lost_during_a_write(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """A transaction whose connection is lost before the commit is retried."""
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(price_of(transaction, "a"))
        if len(runs) == 1:
            terminate_connections(postgres)
        transaction.update(ITEMS, "a", {"price": (runs[-1] or 0) + 1})

    engine.write(work)
    assert (runs, price(engine)) == ([1, 1], 2)


def test_connection_lost_at_the_commit(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """When it is unknown whether a commit was made, the transaction is not retried, and the error says so."""
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        transaction.update(ITEMS, "a", {"price": 7})
        terminate_connections(postgres)

    with pytest.raises(UnavailableError, match="Whether the last write was made is not known") as caught:
        engine.write(work)
    assert runs == [1] and caught.value.retry_after
    assert price(engine) == 1


def test_connection_lost_during_a_query(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """A query whose snapshot is lost raises an error, and the next one works."""
    with engine.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 1
        terminate_connections(postgres)
        with pytest.raises(UnavailableError, match="cannot be used at the moment"):
            price_of(snapshot, "a")
    assert price(engine) == 1


def test_more_threads_than_connections(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A thread that waits too long for a connection gets an error that names the setting."""
    small = open_engine(writer_timeout=1.0, connections=1)  # long enough to connect on a busy machine
    with small.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 1
        errors: list[Exception] = []

        def other() -> None:
            try:
                price(small)
            except OverloadedError as error:
                errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert price(small) == 1  # this thread holds the only one, and must not wait for itself
    assert "CONVEX_DATABASE_CONNECTIONS" in str(errors[0])


def test_unreachable_server(tmp_path: Path) -> None:
    """The error for a server that cannot be reached has the cause as its detail, and no password."""
    url = f"postgresql://ada:hunter2@/app?host={tmp_path}"
    engine = PostgresEngine(url, SCHEMA, timeout=0.3)
    with closing(engine), pytest.raises(UnavailableError, match="cannot be used") as caught:
        engine.snapshot()
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
    assert "No such file" in caught.value.detail
