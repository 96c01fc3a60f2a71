"""Behaviour of the PostgreSQL engine alone: its limits, conflicts and lost connections."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import (
    ConfigurationError,
    Document,
    DocumentValidationError,
    EngineError,
    OverloadedError,
    RegistrationError,
    Schema,
    UnavailableError,
    UniqueConstraintError,
)
from flask_convex_http.engines import Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.tables import check_names, index_name
from flask_convex_http.engines.postgres.values import MAX_INDEX_BYTES, decoded, encoded
from tests.databases import PostgresServer, databases_from
from tests.engines.members import (
    ITEMS,
    MEMBERS,
    SCHEMA,
    increment,
    insert,
    insert_all,
    keys,
    migrate,
    price,
    price_of,
    segment,
    set_price,
)
from tests.engines.scans import scans


@pytest.fixture(name="open_engine")
def _open_engine(postgres: PostgresServer, tmp_path: Path) -> Iterator[Callable[..., PostgresEngine]]:
    """Yield a function that opens the database once more, as another process would."""
    opened: list[PostgresEngine] = []

    def open_one(**options: Any) -> PostgresEngine:
        engine = MEMBERS["postgres"](tmp_path, **options)
        assert isinstance(engine, PostgresEngine)
        opened.append(engine)
        return engine

    with databases_from(postgres):
        yield open_one
        for engine in opened:
            engine.close()


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., PostgresEngine]) -> PostgresEngine:
    """Return an engine whose database has one item, "a", with the price 1."""
    engine = open_engine()
    migrate(engine)
    engine.write(lambda transaction: insert(transaction, "a", 1))
    return engine


def terminate_connections(postgres: PostgresServer) -> None:
    """Terminate all connections except the one that runs this."""
    postgres.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )


# --- values ------------------------------------------------------------------------------------------------------

ODD = st.text(st.sampled_from("\0\1\2aé\U0001f600"), max_size=8)


@given(one=ODD, other=ODD)
def test_text_with_nul_keeps_its_order(one: str, other: str) -> None:
    """Text with NUL, which PostgreSQL cannot store, is encoded without loss and in the same order."""
    first, second = encoded([one, other])
    assert "\0" not in first + second
    assert (decoded(first), decoded(second)) == (one, other)
    assert (first < second, first == second) == (one < other, one == other)


def test_text_with_nul_is_found(engine: PostgresEngine) -> None:
    """Text with NUL can be stored, found by an index, read in order and updated."""
    names = ["", "\0", "\0\0", "\1", "\1\1", "\1\2", "a\0b"]

    def work(transaction: Transaction) -> None:
        for number, name in enumerate(names):
            insert(transaction, f"n{number}", name=name)

    engine.write(work)
    with engine.snapshot() as snapshot:
        ordered = [
            row[2]
            for row in snapshot.select(
                ITEMS, segment("by_name", not_none=True, column="name"), descending=False, limit=None
            )
        ]
    assert ordered == sorted(names)
    assert [engine.lookup(ITEMS, {"name": name})[2] for name in names] == names  # type: ignore[index]
    assert engine.write(lambda transaction: transaction.update(ITEMS, "n1", {"name": "x\0"}))
    assert engine.lookup(ITEMS, {"name": "x\0"}) is not None


@pytest.mark.parametrize("name", ["é" * (MAX_INDEX_BYTES // 2 + 1), "x" * (MAX_INDEX_BYTES + 1)])
def test_value_too_long_for_an_index(engine: PostgresEngine, name: str) -> None:
    """A value that is too long for an index raises a validation error, after which the transaction continues."""

    def work(transaction: Transaction) -> None:
        for change in (
            lambda: insert(transaction, "b", name=name),
            lambda: transaction.update(ITEMS, "a", {"name": name}),
        ):
            with pytest.raises(
                DocumentValidationError, match=f"items: Expected at most {MAX_INDEX_BYTES} bytes.*by_name"
            ):
                change()
        insert(transaction, "c", 3)

    engine.write(work)
    assert (price(engine, "b"), price(engine, "c")) == (None, 3)


def test_longest_value_of_an_index(engine: PostgresEngine) -> None:
    """The longest value that an index accepts is stored, though it cannot be compressed."""
    name = "".join(chr(33 + n * 7919 % 50_000) for n in range(3000)).encode("utf-8", "ignore")[:MAX_INDEX_BYTES]
    text = name.decode("utf-8", "ignore")
    engine.write(lambda transaction: insert(transaction, "b", name=text, size="x"))
    assert engine.lookup(ITEMS, {"name": text}) is not None


def test_long_text_outside_of_indexes(engine: PostgresEngine) -> None:
    """A value in no index may be longer than an index accepts."""
    engine.write(lambda transaction: transaction.update(ITEMS, "a", {"note": bytes(10**6)}))
    with engine.snapshot() as snapshot:
        row = snapshot.get(ITEMS, "a")
    assert row is not None and len(row[5]) == 10**6


# --- plans -------------------------------------------------------------------------------------------------------


def test_every_segment_is_read_from_its_index(engine: PostgresEngine) -> None:
    """Each segment is read from its index in order, without a sort."""
    statements, seen = PostgresStatements(), set()
    with engine._connections.borrow() as connection:
        for _, part, descending in scans():
            sql, values = statements.scan(ITEMS, part, descending, 5)
            if sql in seen:
                continue
            seen.add(sql)
            plan = [row[0] for row in connection.execute(f"EXPLAIN (COSTS off) {sql}".encode(), values)]
            nodes = [line.strip(" ->") for line in plan]
            assert "Sort" not in nodes and any("Index" in node and "Scan" in node for node in nodes), (sql, plan)
    assert len(seen) > 100


# --- names -------------------------------------------------------------------------------------------------------


def test_long_index_names_stay_apart() -> None:
    """Index names that PostgreSQL would truncate to the same name differ by a digest."""
    names = {index_name("t" * 60, "x" * 60 + ending) for ending in "ab"}
    assert len(names) == 2 and all(len(name) <= 63 for name in names)


def test_names_that_are_too_long() -> None:
    """A table name that PostgreSQL would truncate raises an error before the migration."""

    class Long(Document, table="t" * 64):
        name: str

    with pytest.raises(RegistrationError, match="longer than the 63 characters"):
        check_names(Schema(Long))


def test_names_of_system_columns() -> None:
    """A field with the name of a system column raises an error before the migration."""

    class Odd(Document, table="odd"):
        xmin: str

    with pytest.raises(RegistrationError, match=r"Odd\.xmin is taken by PostgreSQL"):
        check_names(Schema(Odd))


def test_schema_with_capitals(postgres: PostgresServer) -> None:
    """The tables can be in a schema whose name needs quotes."""
    postgres.run('CREATE SCHEMA "My Schema"')
    try:
        with closing(PostgresEngine(postgres.url(r"%22My\%20Schema%22"), SCHEMA)) as engine:
            migrate(engine)
            insert_all(engine, "a", price=1)
            assert engine.check() == []
            assert price(engine) == 1
    finally:
        postgres.run('DROP SCHEMA "My Schema" CASCADE')


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@[host/app",
        "postgresql://ada:hunter2@host/app?no=1",
        "postgresql://ada:h@hunter2@host/app",
        "postgresql://ada:h@hun/ter2@host/app",
    ],
)
def test_error_for_a_wrong_url_has_no_password(url: str) -> None:
    """The error for a URL that libpq does not accept does not repeat the password."""
    with pytest.raises(ConfigurationError, match=r"^CONVEX_DATABASE_URL(: | must be a URL that libpq takes)") as caught:
        PostgresEngine(url, SCHEMA)
    assert "hunter2" not in str(caught.value)


# --- errors within a transaction ---------------------------------------------------------------------------------


def test_collision_leaves_the_transaction_usable(engine: PostgresEngine) -> None:
    """A transaction continues after its function has caught a collision."""

    def work(transaction: Transaction) -> None:
        insert(transaction, "b", 2, name="lamp")
        for collide in (
            lambda: insert(transaction, "c", name="lamp"),
            lambda: transaction.update(ITEMS, "a", {"name": "lamp", "price": 9}),
            lambda: insert(transaction, "b"),
        ):
            with pytest.raises(UniqueConstraintError):
                collide()
        transaction.update(ITEMS, "b", {"name": "lamp", "price": 3})

    engine.write(work)
    assert (price(engine), price(engine, "b"), price(engine, "c")) == (1, 3, None)


def test_error_that_is_caught_is_not_committed(engine: PostgresEngine) -> None:
    """A transaction whose function has caught an error of the server takes no more statements and does not commit."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        for _ in range(2):
            with pytest.raises(EngineError):
                transaction.update(ITEMS, "a", {"price": "no number"})

    with pytest.raises(EngineError, match="PostgreSQL: "):
        engine.write(work)
    assert price(engine) == 1


def test_error_after_a_savepoint_has_ended(engine: PostgresEngine) -> None:
    """A savepoint that has ended is rolled back with the one around it."""

    def work(transaction: Transaction) -> None:
        with pytest.raises(EngineError), transaction.savepoint():
            with transaction.savepoint():
                insert(transaction, "b", 6)
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "c", 7)

    engine.write(work)
    assert (price(engine, "b"), price(engine, "c")) == (None, 7)


def test_error_in_a_savepoint_is_rolled_back_with_it(engine: PostgresEngine) -> None:
    """A transaction continues after an error of the server in a savepoint."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        with pytest.raises(EngineError), transaction.savepoint():
            transaction.update(ITEMS, "a", {"price": 6})
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "b", 7)

    engine.write(work)
    assert (price(engine), price(engine, "b")) == (5, 7)


# --- conflicts ---------------------------------------------------------------------------------------------------


def test_conflict_is_retried_even_if_it_was_caught(
    engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]
) -> None:
    """A transaction is retried after a conflict, even if its function has caught the error."""
    other, seen = open_engine(), []

    def work(transaction: Transaction) -> str:
        seen.append(price_of(transaction, "a"))
        if len(seen) == 1:
            other.write(set_price(10))
        try:
            transaction.update(ITEMS, "a", {"price": (seen[-1] or 0) + 1})
        except Exception:
            return "caught"
        return "done"

    assert engine.write(work) == "done"
    assert (seen, price(engine)) == ([1, 10], 11)


def test_write_skew(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """Of two transactions that each read the rows of the other one is retried."""
    other, runs = open_engine(), []

    def insert_sum(transaction: Transaction, key: str) -> None:
        prices = [row[3] for row in transaction.select(ITEMS, segment(), descending=False, limit=None)]
        insert(transaction, key, sum(prices))

    def work(transaction: Transaction) -> None:
        runs.append(1)
        insert_sum(transaction, "first")
        if len(runs) == 1:
            other.write(lambda concurrent: insert_sum(concurrent, "second"))

    engine.write(work)
    assert len(runs) == 2
    assert (price(engine, "second"), price(engine, "first")) == (1, 2)


def test_conflicts_until_the_timeout(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that conflicts until its timeout fails with an error that asks to try again."""
    hasty, other = open_engine(writer_timeout=0.2), open_engine()

    def work(transaction: Transaction) -> None:
        other.write(set_price(transaction.count(ITEMS)))
        transaction.update(ITEMS, "a", {"price": 0})

    with pytest.raises(OverloadedError, match="try again in a moment") as caught:
        hasty.write(work)
    assert caught.value.retry_after


def test_long_transaction_among_short_ones(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that always loses to shorter ones commits, because it locks its rows after a few attempts."""
    slow, hasty = open_engine(writer_timeout=5.0), open_engine(writer_timeout=0.05)

    def work(transaction: Transaction) -> None:
        number = price_of(transaction, "a") or 0
        with suppress(OverloadedError):
            hasty.write(set_price(number + 1))
        transaction.update(ITEMS, "a", {"price": -1})

    slow.write(work)
    with slow.snapshot() as snapshot:
        assert price_of(snapshot, "a") == -1


def test_claims_are_exclusive(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """Another transaction skips claimed rows without a wait, until the transaction that claimed them ends."""
    insert_all(engine, *"bcd", price=5)
    other, whole, claimed = open_engine(), segment(), {}

    def work(transaction: Transaction) -> None:
        claimed["first"] = keys(transaction.claim(ITEMS, whole, limit=2))
        claimed["second"] = other.write(lambda concurrent: keys(concurrent.claim(ITEMS, whole, limit=10)))

    engine.write(work)
    assert claimed == {"first": ["a", "b"], "second": ["c", "d"]}
    assert engine.write(lambda transaction: keys(transaction.claim(ITEMS, whole, limit=10))) == ["a", "b", "c", "d"]


# --- long streams ------------------------------------------------------------------------------------------------


def test_long_stream_shows_no_later_writes(engine: PostgresEngine) -> None:
    """A stream of several pages shows the rows of its first page's moment, though others write in between."""
    insert_all(engine, *(f"k{number:04}" for number in range(2500)))

    def work(transaction: Transaction) -> list[str]:
        found = []
        for row in transaction.stream(ITEMS, segment(), descending=False):
            found.append(row[0])
            if len(found) in (100, 700):
                insert(transaction, f"z{len(found)}", 10**6)
        return found

    assert len(engine.write(work)) == 2501
    with engine.snapshot() as snapshot:
        stream = snapshot.stream(ITEMS, segment(), descending=True)
        first = next(stream)[0]
        engine.write(lambda transaction: transaction.delete(ITEMS, "k0000"))
        assert first.startswith("z") and sum(1 for _ in stream) == 2502


# --- lost connections --------------------------------------------------------------------------------------------


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
    small = open_engine(writer_timeout=0.2, connections=1)
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


# --- migrations --------------------------------------------------------------------------------------------------


def test_concurrent_migrations(open_engine: Callable[..., PostgresEngine]) -> None:
    """Concurrent migrations all succeed, and create the tables once."""
    engines = [open_engine() for _ in range(4)]
    errors: list[BaseException] = []

    def run(engine: PostgresEngine) -> None:
        try:
            migrate(engine)
            engine.write(lambda transaction: None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert engines[0].check() == []
