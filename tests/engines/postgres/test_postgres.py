"""Values, query plans, names and migrations of the PostgreSQL engine."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_convex_http import (
    ConfigurationError,
    Document,
    DocumentValidationError,
    RegistrationError,
    Schema,
)
from flask_convex_http.engines import Transaction
from flask_convex_http.engines.postgres.engine import PostgresEngine
from flask_convex_http.engines.postgres.statements import PostgresStatements
from flask_convex_http.engines.postgres.tables import check_names, index_name
from flask_convex_http.engines.postgres.values import MAX_INDEX_BYTES, decoded, encoded
from tests.databases import PostgresServer
from tests.engines.members import (
    ITEMS,
    SCHEMA,
    insert,
    insert_all,
    migrate,
    price,
    segment,
)
from tests.engines.scans import scans

# --- values ----------------------------------------------------------------------------------------------------------

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


# --- plans -----------------------------------------------------------------------------------------------------------


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


# --- names -----------------------------------------------------------------------------------------------------------


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


# --- migrations ------------------------------------------------------------------------------------------------------


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
