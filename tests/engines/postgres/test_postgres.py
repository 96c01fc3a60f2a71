"""What only the PostgreSQL engine does: its own limits, conflicts, and connections that are lost."""

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
from flask_convex_http.engines.base import Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.tables import check_names, index_name
from flask_convex_http.engines.postgres.values import MAX_INDEX_BYTES, decoded, encoded
from tests.databases import PostgresServer, all_from
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
    """Opens the same database as another process would."""
    opened: list[PostgresEngine] = []

    def open_one(**options: Any) -> PostgresEngine:
        engine = MEMBERS["postgres"](tmp_path, **options)
        assert isinstance(engine, PostgresEngine)
        opened.append(engine)
        return engine

    with all_from(postgres):
        yield open_one
        for engine in opened:
            engine.close()


@pytest.fixture(name="engine")
def _engine(open_engine: Callable[..., PostgresEngine]) -> PostgresEngine:
    """A database with one item, "a", of price 1."""
    engine = open_engine()
    migrate(engine)
    engine.write(lambda transaction: insert(transaction, "a", 1))
    return engine


def cut_all(postgres: PostgresServer) -> None:
    """End every connection but the one that does this."""
    postgres.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )


# --- values ------------------------------------------------------------------------------------------------------

ODD = st.text(st.sampled_from("\0\1\2aé\U0001f600"), max_size=8)


@given(one=ODD, other=ODD)
def test_text_with_nul_keeps_its_order(one: str, other: str) -> None:
    """Text that PostgreSQL does not take is stored so that it comes back the same, and in the same order."""
    ours, theirs = encoded([one, other])
    assert "\0" not in ours + theirs
    assert (decoded(ours), decoded(theirs)) == (one, other)
    assert (ours < theirs, ours == theirs) == (one < other, one == other)


def test_text_with_nul_is_found(engine: PostgresEngine) -> None:
    """A text with NUL is stored, found by an index and by a range, and changed like any other."""
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
    """What an index cannot hold is refused as the document's fault, and the function may go on."""

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
    """What is just short enough is taken, however little of it repeats."""
    name = "".join(chr(33 + n * 7919 % 50_000) for n in range(3000)).encode("utf-8", "ignore")[:MAX_INDEX_BYTES]
    text = name.decode("utf-8", "ignore")
    engine.write(lambda transaction: insert(transaction, "b", name=text, size="x"))
    assert engine.lookup(ITEMS, {"name": text}) is not None


def test_long_text_outside_of_indexes(engine: PostgresEngine) -> None:
    """What is in no index may be as long as it likes."""
    engine.write(lambda transaction: transaction.update(ITEMS, "a", {"note": bytes(10**6)}))
    with engine.snapshot() as snapshot:
        row = snapshot.get(ITEMS, "a")
    assert row is not None and len(row[5]) == 10**6


# --- plans -------------------------------------------------------------------------------------------------------


def test_every_segment_is_read_from_its_index(engine: PostgresEngine) -> None:
    """No segment needs a sort: each is one run of an index, in its order."""
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
    """Names that PostgreSQL would cut to the same are told apart by a digest."""
    names = {index_name("t" * 60, "x" * 60 + ending) for ending in "ab"}
    assert len(names) == 2 and all(len(name) <= 63 for name in names)


def test_names_that_are_too_long() -> None:
    """A table or field that PostgreSQL would cut is refused before anything is made."""

    class Long(Document, table="t" * 64):
        name: str

    with pytest.raises(RegistrationError, match="longer than the 63 characters"):
        check_names(Schema(Long))


def test_names_of_the_server() -> None:
    """A field that has the name of a column which every table of the server has is refused before anything is made."""

    class Odd(Document, table="odd"):
        xmin: str

    with pytest.raises(RegistrationError, match=r"Odd\.xmin is taken by PostgreSQL"):
        check_names(Schema(Odd))


def test_schema_with_capitals(postgres: PostgresServer) -> None:
    """The tables may be in a schema of any name."""
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
def test_wrong_url_keeps_its_password(url: str) -> None:
    """A URL that libpq does not take is refused without saying it."""
    with pytest.raises(
        ConfigurationError, match=r"^CONVEX_DATABASE_URL(: invalid URI query parameter| must be a URL that libpq takes)"
    ) as caught:
        PostgresEngine(url, SCHEMA)
    assert "hunter2" not in str(caught.value)


# --- errors inside of a function ---------------------------------------------------------------------------------


def test_collision_leaves_the_transaction_usable(engine: PostgresEngine) -> None:
    """A function may catch that another document has the same values, and go on."""

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
    """After an error of the server nothing more is taken and nothing committed, even if the function has caught it."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        for _ in range(2):
            with pytest.raises(EngineError):
                transaction.update(ITEMS, "a", {"price": "no number"})

    with pytest.raises(EngineError, match="PostgreSQL: invalid input syntax"):
        engine.write(work)
    assert price(engine) == 1


def test_error_after_a_part_has_ended(engine: PostgresEngine) -> None:
    """A part that has ended goes with the one around it when that fails."""

    def work(transaction: Transaction) -> None:
        with pytest.raises(EngineError), transaction.savepoint():
            with transaction.savepoint():
                insert(transaction, "b", 6)
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "c", 7)

    engine.write(work)
    assert (price(engine, "b"), price(engine, "c")) == (None, 7)


def test_error_in_a_part_is_undone_with_it(engine: PostgresEngine) -> None:
    """After an error of the server in a part of a transaction, the rest of it goes on."""

    def work(transaction: Transaction) -> None:
        transaction.update(ITEMS, "a", {"price": 5})
        with pytest.raises(EngineError), transaction.savepoint():
            transaction.update(ITEMS, "a", {"price": 6})
            transaction.update(ITEMS, "a", {"price": "no number"})
        insert(transaction, "b", 7)

    engine.write(work)
    assert (price(engine), price(engine, "b")) == (5, 7)


# --- conflicts ---------------------------------------------------------------------------------------------------


def test_conflict_is_run_again_whatever_the_function_makes_of_it(
    engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]
) -> None:
    """A transaction that has read what another has changed meanwhile is run again, even if its function caught that."""
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


def test_two_that_each_read_what_the_other_writes(
    engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]
) -> None:
    """Two transactions that would be committed in no order have one of them run again."""
    other, runs = open_engine(), []

    def take_all(transaction: Transaction, key: str) -> None:
        prices = [row[3] for row in transaction.select(ITEMS, segment(), descending=False, limit=None)]
        insert(transaction, key, sum(prices))

    def work(transaction: Transaction) -> None:
        runs.append(1)
        take_all(transaction, "mine")
        if len(runs) == 1:
            other.write(lambda theirs: take_all(theirs, "theirs"))

    engine.write(work)
    assert len(runs) == 2
    assert (price(engine, "theirs"), price(engine, "mine")) == (1, 2)


def test_conflict_without_end(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that conflicts all the time is given up after a while: the client is asked to come back."""
    impatient, other = open_engine(writer_timeout=0.2), open_engine()

    def work(transaction: Transaction) -> None:
        other.write(set_price(transaction.count(ITEMS)))
        transaction.update(ITEMS, "a", {"price": 0})

    with pytest.raises(OverloadedError, match="try again in a moment") as caught:
        impatient.write(work)
    assert caught.value.retry_after


def test_long_transaction_beside_short_ones(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """A transaction that others always come before, between its reading a row and its writing it, keeps them from it
    after a few attempts, and is committed."""
    slow, hasty = open_engine(writer_timeout=5.0), open_engine(writer_timeout=0.05)

    def work(transaction: Transaction) -> None:
        number = price_of(transaction, "a") or 0
        with suppress(OverloadedError):
            hasty.write(set_price(number + 1))
        transaction.update(ITEMS, "a", {"price": -1})

    slow.write(work)
    with slow.snapshot() as snapshot:
        assert price_of(snapshot, "a") == -1


def test_claims_are_of_one(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """What a transaction has claimed nobody else gets until it ends, and nobody waits for it."""
    insert_all(engine, *"bcd", price=5)
    other, whole, got = open_engine(), segment(), {}

    def work(transaction: Transaction) -> None:
        got["mine"] = keys(transaction.claim(ITEMS, whole, limit=2))
        got["theirs"] = other.write(lambda theirs: keys(theirs.claim(ITEMS, whole, limit=10)))

    engine.write(work)
    assert got == {"mine": ["a", "b"], "theirs": ["c", "d"]}
    assert engine.write(lambda transaction: keys(transaction.claim(ITEMS, whole, limit=10))) == ["a", "b", "c", "d"]


# --- long reads --------------------------------------------------------------------------------------------------


def test_long_stream_sees_nothing_that_is_written_meanwhile(engine: PostgresEngine) -> None:
    """Rows that are read in pages are those that were there at first, whoever writes in between."""
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


# --- connections that are lost -----------------------------------------------------------------------------------


def test_idle_connections_that_were_cut_are_replaced(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """Nobody notices that connections were cut while nobody used them."""
    for use in (lambda: price(engine), lambda: engine.lookup(ITEMS, {"name": "x"}), lambda: increment(engine, "a")):
        cut_all(postgres)
        use()
    assert price(engine) == 2


def test_connection_cut_in_the_midst_of_a_write(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """A transaction whose connection is cut before its commit is run again."""
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(price_of(transaction, "a"))
        if len(runs) == 1:
            cut_all(postgres)
        transaction.update(ITEMS, "a", {"price": (runs[-1] or 0) + 1})

    engine.write(work)
    assert (runs, price(engine)) == ([1, 1], 2)


def test_connection_cut_at_the_commit(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """If nobody knows whether a commit was made, it is not made once more: the client hears that."""
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        transaction.update(ITEMS, "a", {"price": 7})
        cut_all(postgres)

    with pytest.raises(UnavailableError, match="Whether the last write was made is not known") as caught:
        engine.write(work)
    assert runs == [1] and caught.value.retry_after
    assert price(engine) == 1


def test_connection_cut_in_the_midst_of_a_query(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """A query whose snapshot is lost says so, and the next one works."""
    with engine.snapshot() as snapshot:
        assert price_of(snapshot, "a") == 1
        cut_all(postgres)
        with pytest.raises(UnavailableError, match="cannot be used at the moment"):
            price_of(snapshot, "a")
    assert price(engine) == 1


def test_more_threads_than_connections(engine: PostgresEngine, open_engine: Callable[..., PostgresEngine]) -> None:
    """Threads wait for a connection, and who waits too long is told which setting gives more."""
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
        assert price(small) == 1  # this thread has one, and does not wait for itself
    assert "CONVEX_DATABASE_CONNECTIONS" in str(errors[0])


def test_server_that_is_not_there(tmp_path: Path) -> None:
    """A server that cannot be reached is said to be, in the time that was given, without its password."""
    url = f"postgresql://ada:hunter2@/app?host={tmp_path}"
    engine = PostgresEngine(url, SCHEMA, timeout=0.3)
    with closing(engine), pytest.raises(UnavailableError, match="cannot be used") as caught:
        engine.snapshot()
    assert "hunter2" not in f"{caught.value} {caught.value.detail}"
    assert "No such file" in caught.value.detail


# --- migrations --------------------------------------------------------------------------------------------------


def test_migrations_at_the_same_moment(open_engine: Callable[..., PostgresEngine]) -> None:
    """Of several processes that migrate at once each finds the tables made once."""
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
