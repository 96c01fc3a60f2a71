"""Connections that are cut, all in use, or of no use: what goes on unseen, and what a client is told."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_convex_http import MutationCtx, UnavailableError
from flask_convex_http.backend import Backend
from tests.databases import PostgresServer
from tests.engines.postgres.bank import Account, Payment, create_app
from tests.engines.postgres.deaths import mortal
from tests.engines.postgres.lines import cut, line_to, named, schema_of
from tests.sqlite.crews import PATIENCE, wait_until
from tests.web.apps import backend_of


@contextmanager
def opened(folder: Path, url: str, *, migrates: bool = True, **config: Any) -> Iterator[Flask]:
    """The bank on a database, whose tables are there; in this process, and without a worker.

    Args:
        folder: For its files.
        url: The database.
        migrates: Whether to make the tables.
        config: More settings, in lower case without CONVEX_.
    """
    settings = {f"CONVEX_{name.upper()}": value for name, value in config.items()}
    app = create_app(folder, CONVEX_DATABASE_URL=url, CONVEX_WORKER="off", **settings)
    try:
        if migrates:
            backend_of(app).migrate()
        yield app
    finally:
        backend_of(app).close()


@pytest.fixture(name="url")
def _url(postgres: PostgresServer) -> str:
    """An empty database."""
    return named(postgres.make())


def pay(app: Flask, key: str = "key", account: str = "somebody") -> TestResponse:
    """Make a payment."""
    return app.test_client().post("/payments", json={"key": key, "account": account})


def look(app: Flask, account: str = "somebody") -> TestResponse:
    """Look at an account."""
    return app.test_client().get(f"/accounts/{account}")


def payments(postgres: PostgresServer, url: str) -> list[str]:
    """The keys of the payments that are there."""
    return [key for (key,) in postgres.run(f"SELECT key FROM {schema_of(url)}.payments ORDER BY key")]


def told_to_come_back(answer: TestResponse) -> bool:
    """Whether a client knows that it may come back, and when."""
    return answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def run(backend: Backend, body: Callable[[MutationCtx], Any]) -> Any:
    """Run a body as a mutation."""
    return backend.runtime.transact(body, backend.caller())


# --- cut -------------------------------------------------------------------------------------------------------------


def test_idle_connections_that_were_cut(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """When all connections were cut while nobody used them, no client notices, whatever is asked first."""
    with opened(tmp_path, url) as app:
        assert pay(app, "one").status_code == 200
        asks: list[Callable[[], TestResponse]] = [lambda: pay(app, "two"), lambda: look(app), lambda: pay(app, "three")]
        for ask in asks:
            assert cut(postgres, url) > 0
            assert ask().status_code == 200
        assert payments(postgres, url) == ["one", "three", "two"]


def test_mutation_whose_connection_is_cut(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A mutation whose connection is cut in the middle is run again from the start; its effects are there once."""
    with opened(tmp_path, url) as app:
        runs: list[int] = []

        def body(ctx: MutationCtx) -> None:
            ctx.db.insert(Payment(key="first", account="somebody", balance=1))
            runs.append(len(runs))
            if len(runs) == 1:
                assert cut(postgres, url) > 0
            ctx.db.insert(Payment(key="second", account="somebody", balance=2))

        run(backend_of(app), body)
        assert runs == [0, 1]
        assert payments(postgres, url) == ["first", "second"]


def test_query_whose_connection_is_cut(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A query whose connection is cut in the middle is answered 503: its snapshot is gone. The next one is answered."""
    with opened(tmp_path, url) as app:
        assert pay(app).status_code == 200
        backend = backend_of(app)
        with pytest.raises(UnavailableError), backend.engine.snapshot() as snapshot:
            assert snapshot.count(backend.schema.table_for(Payment)) == 1
            assert cut(postgres, url) > 0
            snapshot.count(backend.schema.table_for(Payment))
        assert look(app).json == {"torn": False}


@pytest.mark.parametrize(("moment", "is_made"), [("before", False), ("after", True)])
def test_line_that_breaks_at_the_commit(
    moment: Any, is_made: bool, tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    """Where nobody knows whether a commit was made, the client is told so with a 503; who sends the same key again
    finds out, and nothing is there twice."""
    with line_to(postgres, url) as (line, led), opened(tmp_path, led) as app:
        assert pay(app, "before").status_code == 200
        line.fails = moment
        answer = pay(app, "unknown")
        assert told_to_come_back(answer)
        assert "not known" in answer.text
        assert line.failures == 1
        line.fails = "never"
        assert payments(postgres, url) == ["before"] + ["unknown"] * is_made
        assert pay(app, "unknown").status_code == (409 if is_made else 200)
        assert payments(postgres, url) == ["before", "unknown"]


# --- all in use ------------------------------------------------------------------------------------------------------


def test_few_connections_for_many_threads(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """Sixteen threads that share two connections are all served."""
    with opened(tmp_path, url, database_connections=2) as app, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: pay(app, f"{number:03}", f"account {number % 8}"), range(160)))
        assert {answer.status_code for answer in answers} == {200}
        assert payments(postgres, url) == [f"{number:03}" for number in range(160)]
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        assert postgres.run(asked, schema_of(url)) == [(2,)]


def test_no_connection_in_time(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """Who gets no connection within the write timeout is told to come back; nothing is left of what it asked for."""
    with opened(tmp_path, url, database_connections=1, write_timeout=0.3) as app:
        begun, leave = threading.Event(), threading.Event()

        def hold(ctx: MutationCtx) -> None:
            ctx.db.insert(Account(name="held", balance=0))
            begun.set()
            assert leave.wait(PATIENCE)

        holder = threading.Thread(target=lambda: run(backend_of(app), hold))
        holder.start()
        assert begun.wait(PATIENCE)
        answers = [pay(app, "refused"), look(app)]
        leave.set()
        holder.join(PATIENCE)
        assert [told_to_come_back(answer) for answer in answers] == [True, True]
        assert "CONVEX_DATABASE_CONNECTIONS" in answers[0].text
        wait_until(lambda: pay(app, "served").status_code == 200)
        assert payments(postgres, url) == ["served"]


# --- of no use -------------------------------------------------------------------------------------------------------


def test_statement_that_takes_too_long(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A statement that takes several times the write timeout is ended, and its client told to come back."""
    with opened(tmp_path, url, write_timeout=0.1) as app:
        schema = schema_of(url)
        postgres.run(
            f"CREATE FUNCTION {schema}.sleep() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(60); RETURN new; END'"
        )
        trigger = f"{schema}.payments FOR EACH ROW EXECUTE FUNCTION {schema}.sleep()"
        postgres.run(f"CREATE TRIGGER slow BEFORE INSERT ON {trigger}")
        wait_until(lambda: "took too long" in pay(app).text)  # or a busy machine is late in other ways, too
        assert told_to_come_back(pay(app))
        postgres.run(f"DROP TRIGGER slow ON {schema}.payments")
        wait_until(lambda: pay(app).status_code == 200)
        assert payments(postgres, url) == ["key"]


def test_mutation_that_does_nothing_for_too_long(tmp_path: Path, url: str, postgres: PostgresServer) -> None:
    """A mutation that neither reads nor writes for several times the write timeout loses its transaction, and fails;
    nothing is left of it."""
    with opened(tmp_path, url, write_timeout=0.2) as app:

        def body(ctx: MutationCtx) -> None:
            ctx.db.insert(Payment(key="never", account="somebody", balance=1))
            time.sleep(1.5)
            ctx.db.insert(Payment(key="never, either", account="somebody", balance=2))

        with pytest.raises(UnavailableError, match="cannot be used"):
            run(backend_of(app), body)
        assert payments(postgres, url) == []
        wait_until(lambda: pay(app).status_code == 200)


def test_server_that_takes_no_writes(tmp_path: Path) -> None:
    """While a server only reads, as a standby does, clients are told to come back, those who read as well once nothing
    is left of the time before; and when it takes writes again they are served by the same process."""
    with mortal() as server:
        url = server.make()
        with opened(tmp_path, url, write_timeout=0.5) as app:
            assert pay(app, "before").status_code == 200
            server.run("ALTER SYSTEM SET default_transaction_read_only = on")
            server.run("SELECT pg_reload_conf()")
            wait_until(lambda: told_to_come_back(pay(app, str(uuid4()))))
            before = payments(server, url)
            answer = look(app)
            assert told_to_come_back(answer) or answer.json == {"torn": False}
            assert told_to_come_back(pay(app, "refused"))
            server.run("SET default_transaction_read_only = off")
            server.run("ALTER SYSTEM RESET default_transaction_read_only")
            server.run("SELECT pg_reload_conf()")
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            assert look(app).json == {"torn": False}
            assert payments(server, url) == sorted([*before, "after"])


def test_app_that_starts_before_its_server(tmp_path: Path) -> None:
    """An app whose database is not there yet tells its clients to come back, and serves them when it is."""
    with mortal() as server:
        url = server.make()
        with opened(tmp_path, url) as app:
            assert pay(app, "before").status_code == 200
        server.crash()
        with opened(tmp_path, url, migrates=False, write_timeout=0.2) as app:
            assert [told_to_come_back(answer) for answer in (pay(app, "refused"), look(app))] == [True, True]
            server.start()
            wait_until(lambda: pay(app, "after").status_code in (200, 409))
            assert payments(server, url) == ["after", "before"]
