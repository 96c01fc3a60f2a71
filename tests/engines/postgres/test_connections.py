"""Connections that break, are all in use or time out: which of that clients notice."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import MutationCtx, MutationTimeoutError, UnavailableError
from flask_convex_http.backend import Backend
from tests.databases import PostgresServer
from tests.engines.postgres.bank import Account, Payment, create_app
from tests.engines.postgres.failures import durable_server
from tests.engines.postgres.proxies import proxy_to, schema_of, terminate_connections, with_application_name
from tests.sqlite.crews import PATIENCE, wait_until
from tests.web.apps import backend_of


@contextmanager
def opened(folder: Path, url: str, *, migrates: bool = True, **config: Any) -> Iterator[Flask]:
    """Yield the app of the bank in this process, without a worker.

    Args:
        folder: The folder for files.
        url: The database.
        migrates: Whether to create the tables.
        config: More settings, in lower case without CONVEX_.
    """
    if migrates:  # without the timeouts of a test, in which a busy machine may not connect
        with closing(backend_of(create_app(folder, CONVEX_DATABASE_URL=url, CONVEX_WORKER="off"))) as backend:
            backend.migrate()
    settings = {f"CONVEX_{name.upper()}": value for name, value in config.items()}
    app = create_app(folder, CONVEX_DATABASE_URL=url, CONVEX_WORKER="off", **settings)
    try:
        yield app
    finally:
        backend_of(app).close()


@pytest.fixture(name="url")
def _url(postgres: PostgresServer) -> str:
    """Return the URL of an empty database."""
    return with_application_name(postgres.make())


def pay(app: Flask, key: str = "key", account: str = "account") -> TestResponse:
    """Send a payment."""
    return app.test_client().post("/payments", json={"key": key, "account": account})


def get_account(app: Flask, account: str = "account") -> TestResponse:
    """Get the state of an account."""
    return app.test_client().get(f"/accounts/{account}")


def payments(postgres: PostgresServer, url: str) -> list[str]:
    """Return the keys of the stored payments."""
    return [key for (key,) in postgres.run(f"SELECT key FROM {schema_of(url)}.payments ORDER BY key")]


def is_retryable(response: TestResponse) -> bool:
    """Return whether a response asks the client to try again later."""
    return response.status_code == 503 and int(response.headers["Retry-After"]) > 0


def run(backend: Backend, body: Callable[[MutationCtx], Any]) -> Any:
    """Run a body as a mutation."""
    return backend.runtime.transact(body, backend.caller())


# --- broken connections ----------------------------------------------------------------------------------------------


def test_terminated_idle_connections(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A client does not notice that all idle connections were terminated before its request."""
    with opened(tmp_path, url) as app:
        assert pay(app, "one").status_code == 200
        requests: list[Callable[[], TestResponse]] = [
            lambda: pay(app, "two"),
            lambda: get_account(app),
            lambda: pay(app, "three"),
        ]
        for request in requests:
            assert terminate_connections(postgres, url) > 0
            assert request().status_code == 200
        assert payments(postgres, url) == ["one", "three", "two"]


def test_mutation_whose_connection_breaks(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A mutation whose connection breaks is retried from the start, and its effects happen once."""
    with opened(tmp_path, url) as app:
        runs: list[int] = []

        def body(ctx: MutationCtx) -> None:
            ctx.db.insert(Payment(key="first", account="account", balance=1))
            runs.append(len(runs))
            if len(runs) == 1:
                assert terminate_connections(postgres, url) > 0
            ctx.db.insert(Payment(key="second", account="account", balance=2))

        run(backend_of(app), body)
        assert runs == [0, 1]
        assert payments(postgres, url) == ["first", "second"]


def test_query_whose_connection_breaks(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A query whose connection breaks fails as unavailable, because its snapshot is lost. The next one succeeds."""
    with opened(tmp_path, url) as app:
        assert pay(app).status_code == 200
        backend = backend_of(app)
        with pytest.raises(UnavailableError), backend.engine.snapshot() as snapshot:
            assert snapshot.count(backend.schema.table_for(Payment)) == 1
            assert terminate_connections(postgres, url) > 0
            snapshot.count(backend.schema.table_for(Payment))
        assert get_account(app).json == {"torn": False}


@pytest.mark.parametrize(("moment", "is_made"), [("before", False), ("after", True)])
def test_connection_that_breaks_at_the_commit(
    moment: Any, is_made: bool, tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    """An unknown outcome of a commit is a 503 that says so, and a retry does not duplicate the payment."""
    with proxy_to(postgres, url) as (proxy, proxied), opened(tmp_path, proxied) as app:
        assert pay(app, "before").status_code == 200
        proxy.fails = moment
        response = pay(app, "unknown")
        assert is_retryable(response)
        assert "not known" in response.text
        assert proxy.failures == 1
        proxy.fails = "never"
        assert payments(postgres, url) == ["before"] + ["unknown"] * is_made
        assert pay(app, "unknown").status_code == (409 if is_made else 200)
        assert payments(postgres, url) == ["before", "unknown"]


# --- all in use ------------------------------------------------------------------------------------------------------


def test_more_threads_than_connections(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """Sixteen threads that share two connections all succeed, and no third connection is opened."""
    with opened(tmp_path, url, database_connections=2) as app, ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda number: pay(app, f"{number:03}", f"account {number % 8}"), range(160)))
        assert {response.status_code for response in responses} == {200}
        assert payments(postgres, url) == [f"{number:03}" for number in range(160)]
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        assert postgres.run(query, schema_of(url)) == [(2,)]


def test_no_connection_in_time(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A request that gets no connection within the write timeout gets 503, and has no effects."""
    with opened(tmp_path, url, database_connections=1, write_timeout=0.3) as app:
        wait_until(lambda: get_account(app).status_code == 200)  # over the one connection
        begun, leave = threading.Event(), threading.Event()

        def hold(ctx: MutationCtx) -> None:
            ctx.db.insert(Account(name="held", balance=0))
            begun.set()
            assert leave.wait(PATIENCE)

        holder = threading.Thread(target=lambda: run(backend_of(app), hold))
        holder.start()
        assert begun.wait(PATIENCE)
        responses = [pay(app, "rejected"), get_account(app)]
        leave.set()
        holder.join(PATIENCE)
        assert [is_retryable(response) for response in responses] == [True, True]
        assert "CONVEX_DATABASE_CONNECTIONS" in responses[0].text
        wait_until(lambda: pay(app, "served").status_code in (200, 409))
        assert payments(postgres, url) == ["served"]


# --- timeouts and servers that are read-only or down -----------------------------------------------------------------


def test_statement_that_takes_too_long(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A statement that takes longer than both limits on time is canceled, and its client gets 503."""
    with opened(tmp_path, url, write_timeout=0.1, mutation_timeout=0.5) as app:
        schema = schema_of(url)
        postgres.run(
            f"CREATE FUNCTION {schema}.sleep() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(60); RETURN new; END'"
        )
        trigger = f"{schema}.payments FOR EACH ROW EXECUTE FUNCTION {schema}.sleep()"
        postgres.run(f"CREATE TRIGGER slow BEFORE INSERT ON {trigger}")
        # The thread that watches the mutations, or on a busy machine another timeout, may end it first.
        wait_until(lambda: "took too long" in (response := pay(app)).text and is_retryable(response))
        postgres.run(f"DROP TRIGGER slow ON {schema}.payments")
        wait_until(lambda: pay(app).status_code in (200, 409))
        assert payments(postgres, url) == ["key"]


def test_mutation_that_is_idle_for_too_long(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A mutation that neither reads nor writes for longer than its time limit fails and has no effects."""
    with opened(tmp_path, url, write_timeout=0.2, mutation_timeout=1.0) as app:

        def body(ctx: MutationCtx) -> None:
            ctx.db.insert(Payment(key="never", account="account", balance=1))
            time.sleep(1.5)
            ctx.db.insert(Payment(key="never, either", account="account", balance=2))

        with pytest.raises((MutationTimeoutError, UnavailableError)):  # ended by this process, or by the server
            run(backend_of(app), body)
        assert payments(postgres, url) == []
        wait_until(lambda: pay(app).status_code in (200, 409))


def test_read_only_server(tmp_path: Path) -> None:
    """Clients get 503 while the server is read-only, and the same process serves them once it takes writes again."""
    with durable_server() as server:
        url = server.make()
        with opened(tmp_path, url, write_timeout=0.5) as app:
            wait_until(lambda: pay(app, "before").status_code in (200, 409))
            server.run("ALTER SYSTEM SET default_transaction_read_only = on")
            server.run("SELECT pg_reload_conf()")
            wait_until(lambda: is_retryable(pay(app, str(uuid4()))))
            before = payments(server, url)
            response = get_account(app)
            assert is_retryable(response) or response.json == {"torn": False}
            assert is_retryable(pay(app, "rejected"))
            server.run("SET default_transaction_read_only = off")
            server.run("ALTER SYSTEM RESET default_transaction_read_only")
            server.run("SELECT pg_reload_conf()")
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            assert get_account(app).json == {"torn": False}
            assert payments(server, url) == sorted([*before, "after"])


def test_app_that_starts_before_its_server(tmp_path: Path) -> None:
    """An app whose database server is down responds 503, and serves its clients once the server has started."""
    with durable_server() as server:
        url = server.make()
        with opened(tmp_path, url) as app:
            assert pay(app, "before").status_code == 200
        server.crash()
        with opened(tmp_path, url, migrates=False, write_timeout=0.2) as app:
            assert [is_retryable(response) for response in (pay(app, "rejected"), get_account(app))] == [True, True]
            server.start()
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            assert payments(server, url) == ["after", "before"]
